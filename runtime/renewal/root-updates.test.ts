import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import type { TufRoot } from '../../trust/index.ts';
import { openRootUpdates } from './root-updates.ts';

async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; waited < 60_000 && !condition(); waited += 5) await pause(5);
  assert.ok(condition());
}

test('an unreachable repository is tried again later, counted and reported; a repository that left the policy is forgotten', async () => {
  const cache = await mkdtemp(join(tmpdir(), 'root-updates-'));
  let roots: readonly TufRoot[] = [{ url: 'http://127.0.0.1:1', cache, expires: Date.now() + 1000 }];
  let changed: () => void = () => undefined;
  let time = Date.now();
  const updates = openRootUpdates({
    policy: { tufRoots: () => roots, onChange: (listener) => ((changed = listener), () => undefined) },
    log: createLogger({ level: 'silent' }),
    now: () => new Date(time),
    random: () => 0,
  });
  try {
    await pause(20);
    assert.equal(updates.counts().failed, 0, 'no update is due immediately');
    time += 24 * 3_600_000;
    changed();
    await until(() => updates.counts().failed === 1);
    assert.equal(updates.counts().failing, 1);
    const [failing] = updates.failing();
    assert.ok(failing?.url === 'http://127.0.0.1:1' && failing.why !== '' && failing.until !== undefined);
    changed();
    await pause(20);
    assert.equal(updates.counts().failed, 1, 'no update before it is due');
    time += 60_000;
    changed();
    await until(() => updates.counts().failed === 2);
    roots = [];
    changed();
    await until(() => updates.counts().failing === 0);
    assert.deepEqual(updates.failing(), []);
  } finally {
    await updates.close();
    await rm(cache, { recursive: true });
  }
});

test('a clock that was ahead for a while delays no update', async () => {
  const cache = await mkdtemp(join(tmpdir(), 'root-updates-'));
  const day = 24 * 3_600_000;
  const right = Date.now();
  let time = right;
  const updates = openRootUpdates({
    policy: {
      tufRoots: () => [{ url: 'http://127.0.0.1:1', cache, expires: right + 7 * day }],
      onChange: () => () => undefined,
    },
    log: createLogger({ level: 'silent' }),
    now: () => new Date(time),
    random: () => 0,
    roundMs: 5,
  });
  try {
    time += 3650 * day;
    await until(() => updates.counts().failed > 0);
    // The update that failed plans the next one by the wrong clock.
    const { failed } = updates.counts();
    time = right + 1000;
    await pause(50);
    time += 2 * day;
    await until(() => updates.counts().failed > failed);
  } finally {
    await updates.close();
    await rm(cache, { recursive: true });
  }
});
