import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../engine/engine.fixture.ts';
import type { NetworkEngine } from '../types.ts';

/**
 * docs/networking.md, "NET_ADMIN and NET_RAW": a pod with a user namespace of its own cannot change anything
 * of the host; without one the kernel allows it.
 */
const program = join(import.meta.dirname, 'fixtures', 'host_links.py');

if (inPrivateNetns(import.meta.filename)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  before(async () => {
    // Index 2: the program's target.
    shell('ip link add probe type bridge');
    fixture = createFixture();
    engine = await fixture.engine();
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });

  const attempts = (pod: Pod, ...by: readonly string[]): Record<string, number> => {
    const run = spawnSync('nsenter', [...by, `--net=${pod.request.netns}`, '/usr/bin/python3', program], {
      encoding: 'utf8',
    });
    assert.equal(run.status, 0, run.stderr);
    const words = run.stdout.trim().split(' ');
    return Object.fromEntries(
      words.flatMap((word, at) => (at % 2 === 0 ? [[word, Number(words[at + 1])]] : [])),
    );
  };
  const links = (): string =>
    shell('ip -o link')
      .replaceAll(/^\d+: | state \w+|NO-CARRIER,|,LOWER_UP/gmu, '')
      .trim();
  const [EPERM, EACCES] = [1, 13];

  const ptp = {
    type: 'portcullis-ptp',
    ipam: { type: 'host-local', ranges: [[{ subnet: '10.89.0.0/24' }], [{ subnet: 'fd00:89::/64' }]] },
  };
  for (const way of ['bridge', 'ptp'])
    test(`a pod that owns its namespaces reaches no link of the host, with every capability in them: ${way}`, async () => {
      const pod = fixture.pod(`owned${way}`);
      const other = join(fixture.confDir, '05-other.conflist');
      if (way === 'ptp')
        writeFileSync(other, JSON.stringify({ cniVersion: '1.0.0', name: 'routed', plugins: [ptp] }));
      const userns = `${pod.request.netns}-user`;
      shell(`umount ${pod.request.netns} && touch ${userns}`);
      // As the runtime creates them: the network namespace belongs to the user namespace, and both are
      // pinned.
      const holder = fixture.start('unshare', '--user', '--map-root-user', '--net', 'sleep', '600');
      const own = readlinkSync('/proc/self/ns/net');
      await eventually(() =>
        tried(`readlink /proc/${holder.pid}/ns/net`)?.trim() === own ? undefined : true,
      );
      await eventually(() => tried(`grep -q sleep /proc/${holder.pid}/cmdline`));
      for (const [kind, path] of [
        ['net', pod.request.netns],
        ['user', userns],
      ] as const)
        shell(`mount --bind /proc/${holder.pid}/ns/${kind} ${path}`);
      holder.kill('SIGKILL');
      await engine.attach(pod.request);
      rmSync(other, { force: true });
      await engine.setClass(pod.request.id, 'admin');
      const before = links();
      const found = attempts(pod, `--user=${userns}`, '--preserve-credentials');
      assert.deepEqual(Object.keys(found), ['list', 'make', 'join', 'stack', 'delete']);
      for (const [what, errno] of Object.entries(found))
        assert.ok([EPERM, EACCES].includes(errno), `${what}: ${errno}`);
      assert.equal(links(), before);
    });

  test('without a user namespace, NET_ADMIN reaches the links of the host, as the runtime reports for such a container', async () => {
    const pod = fixture.pod('shared');
    await engine.attach(pod.request);
    await engine.setClass(pod.request.id, 'none');
    const found = attempts(pod);
    assert.deepEqual([found['make'], found['join'], found['delete']], [0, 0, 0]);
    assert.match(links(), /made0/u);
    assert.doesNotMatch(links(), /probe/u);
  });
}
