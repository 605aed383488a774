import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createNetworkEngine } from '../../engine/engine.ts';
import { conflist, createFixture, eventually, inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import type { Fixture } from '../../engine/engine.fixture.ts';
import { createLogger } from '../../../base/log/index.ts';
import type { NetworkEngine } from '../../types.ts';

/**
 * Chains of our plugins that run in process instead of as a network of the engine; and several networks of
 * one pod.
 */
if (inPrivateNetns(import.meta.filename)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  const routed = {
    cniVersion: '1.0.0',
    name: 'routed',
    plugins: [
      {
        type: 'portcullis-ptp',
        ipam: {
          type: 'host-local',
          ranges: [[{ subnet: '10.89.0.0/24' }]],
          routes: [{ dst: '10.77.0.0/16' }],
        },
      },
    ],
  };
  const open = (maxConfigs: number): Promise<NetworkEngine> => {
    const { databasePath, confDir } = fixture;
    return createNetworkEngine({
      databasePath,
      confDir,
      choice: { plugins: 'auto', maxConfigs },
      log: createLogger({ level: 'error' }),
    });
  };
  const links = (): string[] =>
    shell('ip -brief link')
      .split('\n')
      .map((line) => line.split(/[ @]/u)[0] ?? '')
      .filter((name) => name.startsWith('pc') || name.startsWith('veth'));
  before(async () => {
    fixture = createFixture(routed);
    engine = await open(1);
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });

  test('a chain of our plugins without a bridge works', async () => {
    assert.equal((await engine.status()).ready, true);
    const pod = fixture.pod('routed');
    const attachment = await engine.attach(pod.request);
    assert.match(attachment.ips[0]?.address ?? '', /^10\.89\.0\.\d+/u);
    assert.deepEqual(await engine.attach(pod.request), attachment);
    assert.match(pod.run('ip -brief link show lo') ?? '', /UP/u);
    assert.equal(pod.run('busybox ping -c1 -W1 10.89.0.1'), undefined);
    await engine.setClass(pod.request.id, 'user');
    assert.ok(pod.run('busybox ping -c1 -W2 10.89.0.1') !== undefined);
    await engine.setClass(pod.request.id, 'none');
    assert.equal(pod.run('busybox ping -c1 -W1 10.89.0.1'), undefined);
    await engine.detach(pod.request.id);
    await eventually(() => links().length === 0 || undefined);
    assert.deepEqual(engine.list(), []);
  });

  test('rules that cannot be enforced on a link without an end on the host are refused by name; a NetworkPolicy that arrives later is reported', async () => {
    shell('ip link add parent0 type veth peer name parent1; ip link set parent0 up; ip link set parent1 up');
    const ipam = { type: 'host-local', ranges: [[{ subnet: '10.91.0.0/24' }]] };
    const file = join(fixture.confDir, '05-endless.conflist');
    writeFileSync(
      file,
      JSON.stringify({
        cniVersion: '1.0.0',
        name: 'endless',
        plugins: [{ type: 'portcullis-macvlan', master: 'parent0', ipam }],
      }),
    );
    const lines: string[] = [];
    const policyDir = join(fixture.folder, 'later');
    mkdirSync(policyDir);
    await engine.close({ removeAll: false });
    const { databasePath, confDir } = fixture;
    const log = createLogger({ level: 'warn', stream: { write: (line: string) => void lines.push(line) } });
    const following = await createNetworkEngine({
      databasePath,
      confDir,
      policyDir,
      choice: { plugins: 'auto', maxConfigs: 1 },
      log,
    });
    try {
      const pod = fixture.pod('selected');
      await following.attach(pod.request);
      for (const [linkClass, rules] of [
        ['none', {}],
        ['user', { egress: [] }],
      ] as const)
        await assert.rejects(following.setClass(pod.request.id, linkClass, rules), {
          code: 'NETWORK_RULES_UNSUPPORTED',
          message: /endless created no interface on the host.*use a network of the plugin bridge or ptp/u,
        });
      await following.setClass(pod.request.id, 'user');
      const reported = (): boolean =>
        lines.some((line) => line.includes('are not enforced') && line.includes(pod.request.id));
      assert.equal(reported(), false);
      const policy = {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'closed' },
        spec: { podSelector: {} },
      };
      writeFileSync(join(policyDir, 'closed.json'), JSON.stringify(policy));
      await eventually(() => reported() || undefined, 10_000);
      await assert.rejects(following.setClass(pod.request.id, 'user'), { code: 'NETWORK_RULES_UNSUPPORTED' });
      await following.detach(pod.request.id);
    } finally {
      await following.close({ removeAll: false });
      rmSync(file);
      shell('ip link del parent0');
      engine = await open(1);
    }
  });

  test('a pod on a network of the engine and on a network of a chain leaves both; unclaimed attachments are collected', async () => {
    writeFileSync(join(fixture.confDir, '05-bridge.conflist'), JSON.stringify(conflist()));
    await engine.close({ removeAll: true });
    engine = await open(2);
    const [pod, other] = [fixture.pod('both'), fixture.pod('other')];
    const attachment = await engine.attach(pod.request);
    assert.match(attachment.ips[0]?.address ?? '', /^10\.88\./u);
    assert.match(pod.run('ip -brief address show eth1') ?? '', /10\.89\.0\./u);
    const answered = (): boolean[] =>
      ['10.88.0.1', '10.89.0.1'].map((host) => pod.run(`busybox ping -c1 -W1 ${host}`) !== undefined);
    assert.deepEqual(answered(), [false, false]);
    await engine.setClass(pod.request.id, 'user');
    await eventually(() => answered().every(Boolean) || undefined, 10_000);
    await engine.setClass(pod.request.id, 'none');
    assert.deepEqual(answered(), [false, false]);
    await engine.attach(other.request);
    await engine.detach(pod.request.id);
    assert.equal(pod.run('ip link show eth1'), undefined);
    await engine.close({ removeAll: false });
    engine = await open(2);
    assert.equal(engine.list().length, 1);
    await engine.gc(new Set());
    await eventually(() => links().length === 0 || undefined, 20_000);
    await eventually(() => engine.list().length === 0 || undefined, 20_000);
    const { attachments, leases } = await engine.figures();
    assert.deepEqual(attachments, []);
    assert.ok(leases.every(({ used }) => used === 0));
  });
}
