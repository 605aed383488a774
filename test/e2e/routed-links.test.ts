import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage, plainPolicy } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Network classes and peer rules of container profiles on a portcullis-ptp network, through the CRI. */
const profile = (name: string, rest: string): string =>
  `---\napiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: ${name} }\n${rest}\n`;
const profiles = [
  profile('alone', 'entitlements: [network.none]'),
  profile('admin', 'entitlements: [network.admin]'),
  profile('narrow', 'network: { egress: [{ to: 10.215.0.1, ports: [8080/tcp] }] }'),
  profile('closed', 'network: { ingress: [{ from: 198.51.100.0/24, ports: [8080/tcp] }] }'),
].join('');
const server = ['httpd', '-f', '-p', '8080', '-h', '/www'];
const conflist = JSON.stringify({
  cniVersion: '1.0.0',
  name: 'routed',
  plugins: [
    {
      type: 'portcullis-ptp',
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.215.0.0/24' }], [{ subnet: 'fd00:215::/64' }]],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
      },
    },
  ],
});

async function isOpen(host: string, patience: number): Promise<boolean> {
  for (const deadline = Date.now() + patience; Date.now() < deadline; await pause(50)) {
    const reached = await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port: 8080 });
      socket.setTimeout(500, () => socket.destroy());
      socket.on('connect', () => (resolve(true), socket.destroy()));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(false));
    });
    if (reached) return true;
  }
  return false;
}

describe('profiles on a routed link', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage({ conflist, policy: plainPolicy + profiles });
    image = await stage.pull((await stage.publish('app/routed:1')).reference);
  });
  after(() => stage.close());

  const hears = (host: string): boolean =>
    spawnSync('busybox', ['ping', '-c', '1', '-W', '1', host]).status === 0;
  const started = async (
    name: string,
    profileName?: string,
  ): Promise<{ pod: Pod; container: string; hosts: string[] }> => {
    const annotations = profileName === undefined ? {} : { 'portcullis.dev/profile': profileName };
    const pod = await runPod(stage, name, { annotations });
    const container = await runContainer(stage, pod, {
      image,
      command: profileName === 'alone' ? ['sleep', '600'] : server,
    });
    const { network } =
      (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id })).status ?? {};
    return {
      pod,
      container,
      hosts: [network?.ip ?? '', ...(network?.additionalIps ?? []).map(({ ip }) => ip)],
    };
  };
  const pings = async (container: string, host: string): Promise<boolean> =>
    (await execute(stage, container, 'ping', '-c', '1', '-W', '1', host)).exitCode === 0;

  it('network.none, egress rules and ingress rules apply over IPv4 and IPv6, also after the daemon was killed', async () => {
    const plain = await started('plain');
    const alone = await started('alone', 'alone');
    const narrow = await started('narrow', 'narrow');
    const closed = await started('closed', 'closed');
    const holds = async (): Promise<void> => {
      for (const host of plain.hosts) assert.ok(await isOpen(host, 5000), host);
      for (const host of narrow.hosts) assert.ok(await isOpen(host, 5000), host);
      for (const host of closed.hosts) assert.equal(await isOpen(host, 700), false, host);
      // Programs of the container cannot open sockets, but the kernel would answer in its namespace.
      assert.deepEqual([...plain.hosts, ...alone.hosts].map(hears), [true, true, false, false]);
      assert.equal(await pings(plain.container, '10.215.0.1'), true);
      assert.equal(await pings(narrow.container, plain.hosts[0] ?? ''), false);
      assert.equal(await pings(narrow.container, plain.hosts[1] ?? ''), false);
    };
    await holds();
    await stage.restart({ kill: true });
    await holds();
    assert.match(
      execFileSync('nft', ['list', 'table', 'inet', 'portcullis_rules'], { encoding: 'utf8' }),
      /network\.egress/u,
    );
    for (const { pod } of [plain, alone, narrow, closed]) await removePod(stage, pod);
    assert.doesNotMatch(execFileSync('ip', ['route'], { encoding: 'utf8' }), /10\.215\.0\.[2-9]/u);
  });

  it('a container that may configure its network namespace cannot send from another address', async () => {
    const { pod, container } = await started('admin', 'admin');
    assert.equal(await pings(container, '10.215.0.1'), true);
    await execute(stage, container, 'ip', 'addr', 'add', '10.215.0.99/24', 'dev', 'eth0');
    const forged = await execute(
      stage,
      container,
      'ping',
      '-c',
      '1',
      '-W',
      '1',
      '-I',
      '10.215.0.99',
      '10.215.0.1',
    );
    assert.notEqual(forged.exitCode, 0);
    assert.match(
      execFileSync('nft', ['list', 'set', 'inet', 'portcullis', 'denied_forged'], { encoding: 'utf8' }),
      /counter packets [1-9]/u,
    );
    await removePod(stage, pod);
  });
});
