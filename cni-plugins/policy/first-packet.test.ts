import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { conflist, eventually, inPrivateNetns, startFixture, tried } from '../attach/engine.fixture.ts';
import type { Pod } from '../attach/engine.fixture.ts';
import type { Attachment, LinkRule } from '../types.ts';

/**
 * A pod that sends whatever it can from the moment in which it has a link, with all capabilities (raw frames) and with none: nothing
 * arrives before it may, and nothing that is denied ever does. What arrives is read behind the rules: frames in the other pods, datagrams
 * on the host's sockets.
 */
const python = '/usr/bin/python3';
// As text: whoever runs it may not be let into this folder.
const hostile = ['-c', readFileSync(join(import.meta.dirname, 'fixtures', 'hostile.py'), 'utf8')];

if (inPrivateNetns(import.meta.filename)) {
  const { fixture, engine } = await startFixture();

  const plainAddress = (attachment: Attachment, index: number): string => attachment.ips[index]?.address.split('/')[0] ?? '';
  const started: ChildProcess[] = [];
  const start = (...[command = '', ...args]: string[]): void => void started.push(fixture.start(command, ...args));
  const inside = (pod: Pod, ...command: string[]): void => start('nsenter', `--net=${pod.request.netns}`, ...command);
  afterEach(() => started.splice(0).forEach((child) => child.kill('SIGKILL')));

  for (const bridgeNetfilter of [0, 1])
    test(`from the first packet on, bridge-netfilter ${bridgeNetfilter}`, async () => {
      tried(`sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo ${bridgeNetfilter} > $f; done'`);
      const named = (name: string): Pod => fixture.pod(`${name}${bridgeNetfilter}`);
      const [victim, held, far, attacker] = [named('victim'), named('held'), named('far'), named('attacker')];
      const attachments = new Map<Pod, Attachment>();
      for (const pod of [victim, held]) attachments.set(pod, await engine.attach(pod.request));
      // Another network on another bridge: reached by the host's routing only.
      const other = join(fixture.confDir, '05-other.conflist');
      const ipam = { type: 'host-local', ranges: [[{ subnet: '10.89.0.0/24' }], [{ subnet: 'fd00:89::/64' }]] };
      writeFileSync(other, JSON.stringify({ ...conflist({ bridge: 'cni1', ipam }), name: 'other' }));
      attachments.set(far, await engine.attach(far.request));
      rmSync(other);
      const at = (pod: Pod): Attachment => attachments.get(pod) ?? assert.fail('it is not attached');
      const logs = new Map<Pod | undefined, string>();
      const listen = async (pod: Pod | undefined): Promise<void> => {
        const log = join(fixture.folder, `${pod?.request.pod.name ?? `host${bridgeNetfilter}`}.log`);
        logs.set(pod, log);
        if (pod === undefined) start(python, ...hostile, 'sockets', log);
        else inside(pod, python, ...hostile, 'frames', log);
        await eventually(() => tried(`grep -q ready ${log}`), 5000);
      };
      for (const pod of [victim, held, far, undefined]) await listen(pod);
      const arrived = (pod: Pod | undefined): string[] =>
        readFileSync(logs.get(pod) ?? '', 'utf8')
          .split('\n')
          .slice(1, -1)
          .sort();
      const everywhere = (): string[] => [victim, held, far, undefined].flatMap(arrived);

      // The victim's rules say who may come, the others' say nothing, or nobody.
      await engine.setClass(victim.request.id, 'user');
      await engine.setClass(held.request.id, 'admin', { ingress: [] });
      await engine.setClass(far.request.id, 'user');

      // The sender's own address is known beforehand: the next one of the range.
      const next = (address: string, by: number): string =>
        address.replace(/(\d+)$/u, (_all, digits: string) => String(Number(digits) + by));
      const self = [next(plainAddress(at(held), 0), 1), next(plainAddress(at(held), 1), 1)];
      const gateway = ['10.88.0.1', 'fd00:88::1', '0a:58:0a:58:00:01'];
      const pods = [victim, held, far].map((pod) => [
        pod.request.pod.name.slice(0, -1),
        plainAddress(at(pod), 0),
        plainAddress(at(pod), 1),
        at(pod).interface.mac,
      ]);
      const targets = JSON.stringify({ self, gateway, pods });
      inside(attacker, python, ...hostile, 'flood', targets);
      inside(
        attacker,
        'setpriv',
        '--reuid=65534',
        '--clear-groups',
        '--bounding-set=-all',
        '--inh-caps=-all',
        python,
        ...hostile,
        'plain',
        targets,
      );
      await pause(500);
      const attachment = await engine.attach(attacker.request);
      assert.deepEqual([plainAddress(attachment, 0), plainAddress(attachment, 1)], self);
      await pause(400);
      assert.deepEqual(everywhere(), [], 'while it is denied');
      await engine.setClass(attacker.request.id, 'none');
      await pause(200);
      assert.deepEqual(everywhere(), [], 'network.none');

      const only: LinkRule[] = ['10.88.0.0/16', '10.89.0.0/16', 'fd00:88::/32', 'fd00:89::/32'].map((cidr) => ({
        cidr,
        protocol: 'udp',
        ports: { low: 7777, high: 7777 },
      }));
      await engine.setClass(attacker.request.id, 'admin', { egress: only });
      const granted = (name: string): string[] =>
        [4, 6].flatMap((family) => ['direct', 'routed', 'plain'].map((way) => `${name}-${way}-udp${family}-7777`)).sort();
      const settled = async (pod: Pod | undefined, kinds: readonly string[]): Promise<void> => {
        await eventually(() => kinds.every((kind) => arrived(pod).includes(kind)) || undefined, 8000).catch(() => undefined);
        assert.deepEqual(arrived(pod), kinds);
      };
      await settled(victim, granted('victim'));
      // Whatever MAC it writes: its frames go through the host.
      await settled(far, granted('far'));
      // The subnet's broadcast address is one of those granted; other pods do not see it, the host does.
      const toHost = ['4', '6'].flatMap((family) => [`host-plain-udp${family}-7777`, `host-udp${family}-7777`]);
      const hears = [...toHost, 'group-plain-10.88.0.255', 'group-subnet'].sort();
      await settled(undefined, hears);
      await settled(held, []);

      // It undoes what it can reach: rules of its own, another MAC, addresses of others, routes.
      const far4 = plainAddress(at(victim), 0);
      attacker.run(
        `sh -c 'nft flush ruleset; nft add table inet x; ip link set eth0 address 0a:58:0a:58:00:fa; ip addr add 10.88.0.250/24 dev eth0; ip addr add ${far4}/24 dev eth0; ip -6 addr add fd00:88::fa/64 dev eth0 nodad; ip neigh flush dev eth0; sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.eth0.accept_ra=2'`,
      );
      await pause(400);
      assert.deepEqual(arrived(victim), granted('victim'));
      assert.deepEqual(arrived(held), []);
      assert.deepEqual(arrived(undefined), hears);
      // Without rules of its own, those of whoever it sends to hold.
      await engine.setClass(attacker.request.id, 'admin');
      await eventually(() => arrived(victim).includes('victim-direct-udp4-7778') || undefined, 5000);
      assert.deepEqual(arrived(held), []);
      await engine.setClass(attacker.request.id, 'none');
      await engine.gc(new Set());
    });
}
