import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createFixture, inPrivateNetns, shell } from './engine.fixture.ts';
import type { Fixture, Pod } from './engine.fixture.ts';
import type { NetworkEngine } from '../types.ts';

/** Frames to an address whose port the bridge does not know, as observed by what arrives. */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  const packets = (pod: Pod): number =>
    Number(/RX:[^\n]*\n\s*\d+\s+(\d+)/u.exec(pod.run('ip -s link show dev eth0') ?? '')?.[1]);
  const attach = async (name: string): Promise<{ pod: Pod; hostInterface: string; ip: string }> => {
    const pod = fixture.pod(name);
    const { hostInterface, ips } = await engine.attach(pod.request);
    await engine.setClass(pod.request.id, 'user');
    return { pod, hostInterface, ip: ips[0]?.address.split('/')[0] ?? '' };
  };
  before(async () => {
    fixture = createFixture();
    engine = await fixture.engine();
  });
  after(async () => {
    await engine.gc(new Set());
    await engine.close({ removeAll: true });
    fixture.end();
  });

  test('a frame to an unknown destination reaches no pod; a pod that never sent a frame is still reached', async () => {
    const quiet = await attach('quiet');
    const speaker = await attach('speaker');
    const mac = /link\/ether (\S+)/u.exec(quiet.pod.run('ip link show dev eth0') ?? '')?.[1] ?? '';
    // The bridge's learned entries are gone; the entries that we set remain.
    shell(`ip link set ${quiet.hostInterface} type bridge_slave fdb_flush`);
    // The neighbours' own noise (ARP, IPv6) is not counted.
    speaker.pod.run('ip neigh replace 10.88.0.222 lladdr 02:00:00:00:00:99 dev eth0 nud permanent');
    speaker.pod.run(`ip neigh replace ${quiet.ip} lladdr ${mac} dev eth0 nud permanent`);
    const before = packets(quiet.pod);
    speaker.pod.run('busybox ping -c 40 -i 0.02 -W 1 10.88.0.222');
    const flooded = packets(quiet.pod) - before;
    assert.ok(flooded < 20, `${flooded} frames came to a pod that they were not for`);
    assert.notEqual(speaker.pod.run(`busybox ping -c 1 -W 5 ${quiet.ip}`), undefined, 'the pod is reached');
    assert.match(
      shell(`bridge fdb show dev ${quiet.hostInterface}`),
      new RegExp(`${mac} .*master cni0 .*static`, 'u'),
    );
  });

  test('a link that was removed from its bridge gets both back with the bridge', async () => {
    const { hostInterface } = await attach('taken');
    shell(`ip link set ${hostInterface} nomaster`);
    await engine.close({ removeAll: false });
    engine = await fixture.engine();
    assert.match(shell(`ip -d link show dev ${hostInterface}`), /master cni0.* flood off/su);
    assert.match(shell(`bridge fdb show dev ${hostInterface}`), /master cni0 .*static/u);
  });
}
