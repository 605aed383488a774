import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createOomLedger } from './oom-ledger.ts';
import type { OomLedger } from './oom-ledger.ts';

const pod = '/p.slice';

describe('out-of-memory kills, if systemd removes scopes as they end', () => {
  let root = '';
  let ledger: OomLedger;
  const count = (path: string, kills: number): void => {
    mkdirSync(join(root, path), { recursive: true });
    writeFileSync(join(root, path, 'memory.events'), `oom ${kills + 1}\noom_kill ${kills}\n`);
  };
  const gone = (path: string): void => rmSync(join(root, path), { recursive: true });
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'portcullis-ledger-'));
    ledger = createOomLedger({ version: 2, hybrid: false, roots: [root] });
    count(pod, 0);
    await ledger.open(pod);
    for (const name of ['a', 'b']) count(`${pod}/${name}.scope`, 0);
  });
  afterEach(() => rmSync(root, { recursive: true }));
  const ask = (name: string): Promise<boolean> => ledger.wasKilled(pod, `${pod}/${name}.scope`);

  it('are found in the container’s own cgroup while it exists', async () => {
    count(`${pod}/a.scope`, 1);
    count(pod, 1);
    assert.deepEqual([await ask('b'), await ask('a')], [false, true]);
  });

  it('are found in the count of the pod when the container’s cgroup no longer exists', async () => {
    count(pod, 1);
    gone(`${pod}/a.scope`);
    gone(`${pod}/b.scope`);
    assert.deepEqual(
      await Promise.all([ask('a'), ask('b')]),
      [true, false],
      'the same kill is not attributed to another container',
    );
  });

  it('are not attributed to a container that exited normally beside a container that had a kill and continues', async () => {
    count(`${pod}/b.scope`, 2);
    count(pod, 2);
    gone(`${pod}/a.scope`);
    assert.equal(await ask('a'), false);
    gone(`${pod}/b.scope`);
    assert.equal(await ask('b'), true);
  });

  it('are not counted again when a cgroup is removed after its count was read', async () => {
    count(`${pod}/a.scope`, 1);
    count(pod, 1);
    assert.equal(await ask('a'), true);
    gone(`${pod}/a.scope`);
    gone(`${pod}/b.scope`);
    assert.equal(await ask('b'), false);
  });

  it('of containers from before the start of the daemon are not attributed to a container', async () => {
    count(pod, 3);
    const later = createOomLedger({ version: 2, hybrid: false, roots: [root] });
    await later.open(pod);
    gone(`${pod}/a.scope`);
    assert.equal(await later.wasKilled(pod, `${pod}/a.scope`), false);
    count(pod, 4);
    gone(`${pod}/b.scope`);
    assert.equal(await later.wasKilled(pod, `${pod}/b.scope`), true);
  });

  it('of a pod that was never opened are found only in the container’s own count', async () => {
    count('/q.slice', 1);
    assert.equal(await ledger.wasKilled('/q.slice', '/q.slice/c.scope'), false);
  });

  it('are unknown, not zero, while a count cannot be read', async () => {
    count(`${pod}/a.scope`, 1);
    count(pod, 1);
    const file = join(root, pod, 'a.scope/memory.events');
    renameSync(file, join(root, 'kept'));
    // A read of this file fails with EIO: nothing is mapped at the address 0.
    symlinkSync('/proc/self/mem', file);
    await assert.rejects(ask('a'), { code: 'EIO' });
    renameSync(join(root, 'kept'), file);
    assert.equal(await ask('a'), true);
  });
});
