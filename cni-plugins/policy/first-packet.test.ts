import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { conflist, eventually, inPrivateNetns, startFixture, tried } from '../engine/engine.fixture.ts';
import type { Pod } from '../engine/engine.fixture.ts';
import type { LinkRule } from '../types.ts';
import { following, openScene, plainAddress } from './first-packet.fixture.ts';
import type { Scene } from './first-packet.fixture.ts';

/**
 * From a bridge: no packet arrives before it may, and no denied packet ever does. Routed links:
 * first-packet-routed.test.ts.
 */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  const { fixture, engine } = await startFixture();
  let scene: Scene | undefined;
  afterEach(() => scene?.end());

  for (const bridgeNetfilter of [0, 1])
    test(`from the first packet on, bridge-netfilter ${bridgeNetfilter}`, async () => {
      tried(
        `sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo ${bridgeNetfilter} > $f; done'`,
      );
      const named = (name: string): Pod => fixture.pod(`${name}${bridgeNetfilter}`);
      const [victim, held, far, routed, attacker] = [
        named('victim'),
        named('held'),
        named('far'),
        named('routed'),
        named('attacker'),
      ];
      const { attach, at, listen, arrived, settled, send } = (scene = openScene(
        fixture,
        engine,
        String(bridgeNetfilter),
      ));
      for (const pod of [victim, held]) await attach(pod);
      // Other networks, reached only by the host's routing: another bridge, and a link of its own.
      const ranges = (net: number): object[][] => [
        [{ subnet: `10.${net}.0.0/24` }],
        [{ subnet: `fd00:${net}::/64` }],
      ];
      await attach(far, {
        ...conflist({ bridge: 'cni1', ipam: { type: 'host-local', ranges: ranges(89) } }),
        name: 'other',
      });
      const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
      const ptp = { type: 'portcullis-ptp', ipam: { type: 'host-local', ranges: ranges(90), routes } };
      await attach(routed, { cniVersion: '1.0.0', name: 'routed', plugins: [ptp] });
      for (const pod of [victim, held, far, routed, undefined]) await listen(pod);
      const everywhere = (): string[] => [victim, held, far, routed, undefined].flatMap(arrived);

      // The victim's rules define the allowed senders; the others' rules allow none, or do not exist.
      await engine.setClass(victim.request.id, 'user');
      await engine.setClass(held.request.id, 'admin', { ingress: [] });
      for (const pod of [far, routed]) await engine.setClass(pod.request.id, 'user');

      const self = [0, 1].map((index) => following(plainAddress(at(held), index), 1));
      send(attacker, self, ['10.88.0.1', 'fd00:88::1', '0a:58:0a:58:00:01'], [victim, held, far, routed]);
      await pause(500);
      const attachment = await attach(attacker);
      assert.deepEqual([plainAddress(attachment, 0), plainAddress(attachment, 1)], self);
      await pause(400);
      assert.deepEqual(everywhere(), [], 'while it is denied');
      await engine.setClass(attacker.request.id, 'none');
      await pause(200);
      assert.deepEqual(everywhere(), [], 'network.none');

      const networks = [88, 89, 90].flatMap((net) => [`10.${net}.0.0/16`, `fd00:${net}::/32`]);
      const only = networks.map((cidr): LinkRule => ({
        cidr,
        protocol: 'udp',
        ports: { low: 7777, high: 7777 },
      }));
      await engine.setClass(attacker.request.id, 'admin', { egress: only });
      const granted = (name: string): string[] =>
        [4, 6]
          .flatMap((family) => ['direct', 'routed', 'plain'].map((way) => `${name}-${way}-udp${family}-7777`))
          .sort();
      await settled(victim, granted('victim'));
      // Whatever MAC address it writes, its frames go through the host.
      await settled(far, granted('far'));
      await settled(routed, granted('routed'));
      // The subnet's broadcast address is one of those granted; other pods do not receive it, the host does.
      const toHost = ['4', '6'].flatMap((family) => [
        `host-plain-udp${family}-7777`,
        `host-udp${family}-7777`,
      ]);
      const hears = [...toHost, 'group-plain-10.88.0.255', 'group-subnet'].sort();
      await settled(undefined, hears);
      await settled(held, []);

      // The pod undoes everything that it can reach: its own rules, another MAC, foreign addresses, routes.
      const far4 = plainAddress(at(victim), 0);
      attacker.run(
        `sh -c 'nft flush ruleset; nft add table inet x; ip link set eth0 address 0a:58:0a:58:00:fa; ip addr add 10.88.0.250/24 dev eth0; ip addr add ${far4}/24 dev eth0; ip -6 addr add fd00:88::fa/64 dev eth0 nodad; ip neigh flush dev eth0; sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.eth0.accept_ra=2'`,
      );
      await pause(400);
      assert.deepEqual(arrived(victim), granted('victim'));
      assert.deepEqual(arrived(held), []);
      assert.deepEqual(arrived(undefined), hears);
      // Without rules of its own, the rules of the receiver apply.
      await engine.setClass(attacker.request.id, 'admin');
      await eventually(() => arrived(victim).includes('victim-direct-udp4-7778') || undefined, 20_000);
      assert.deepEqual(arrived(held), []);
      await engine.setClass(attacker.request.id, 'none');
      await engine.gc(new Set());
    });
}
