import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startKeeper } from './keeper.ts';

describe('the gate keeper', () => {
  it('is not started in a tight loop when it always ends at once', async () => {
    const group = openSync('/dev/null', 'r');
    let restarts = 0;
    const keeper = await startKeeper(
      group,
      () => (restarts += 1),
      () => undefined,
    );
    for (let waited = 0; waited < 1000; waited += 5) {
      try {
        process.kill(keeper.pid(), 'SIGKILL');
      } catch {
        // It has ended, and the next one has not started.
      }
      await pause(5);
    }
    await keeper.end(true);
    closeSync(group);
    assert.ok(restarts > 0 && restarts <= 20, `${restarts} restarts in a second`);
  });

  it('can be ended after it has ended by itself', { timeout: 10_000 }, async () => {
    const group = openSync('/dev/null', 'r');
    const ended = Promise.withResolvers<undefined>();
    const keeper = await startKeeper(
      group,
      () => ended.resolve(undefined),
      () => undefined,
    );
    process.kill(keeper.pid(), 'SIGKILL');
    await ended.promise;
    await keeper.end(true);
    closeSync(group);
  });
});
