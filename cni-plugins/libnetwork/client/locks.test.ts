import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openNetworkLocks } from './locks.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-locks-'));
after(() => rmSync(folder, { recursive: true }));

test('a caller waits only its own time for the earlier callers of this process, and they keep the lock', async () => {
  const locks = openNetworkLocks(folder, 100);
  const gate = Promise.withResolvers<undefined>();
  const done: string[] = [];
  const first = locks.holding('net', async () => {
    await gate.promise;
    done.push('first');
  });
  await Promise.all(
    [1, 2, 3].map((each) =>
      assert.rejects(
        locks.holding('net', () => Promise.resolve(done.push(`later ${each}`))),
        { code: 'NETWORK_BUSY' },
      ),
    ),
  );
  await locks.holding('other', () => Promise.resolve(done.push('other')));
  assert.deepEqual(done, ['other']);
  gate.resolve(undefined);
  await first;
  await locks.holding('net', () => Promise.resolve(done.push('after')));
  assert.deepEqual(done, ['other', 'first', 'after']);
});

test('callers of one process get the lock in the order in which they asked, also after one gave up', async () => {
  const locks = openNetworkLocks(folder, 1000);
  const gate = Promise.withResolvers<undefined>();
  const done: number[] = [];
  const first = locks.holding('net', () => gate.promise);
  const second = locks.holding('net', () => Promise.resolve());
  await new Promise((resolve) => setTimeout(resolve, 700));
  const later = [1, 2, 3].map((each) => locks.holding('net', () => Promise.resolve(done.push(each))));
  await assert.rejects(second, { code: 'NETWORK_BUSY' });
  gate.resolve(undefined);
  await Promise.all([first, ...later]);
  assert.deepEqual(done, [1, 2, 3]);
});
