import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { holdDescriptors } from '../../../base/process/descriptors.fixture.ts';
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

  it('is started as soon as there are descriptors again', { timeout: 20_000 }, async () => {
    const group = openSync('/dev/null', 'r');
    const failure = Promise.withResolvers<string>();
    const keeper = await startKeeper(group, () => undefined, failure.resolve);
    const before = keeper.pid();
    const held = holdDescriptors();
    held.fill();
    process.kill(before, 'SIGKILL');
    const why = await failure.promise;
    held.release();
    assert.match(why, /EMFILE/);
    while (keeper.pid() === before) await pause(20);
    process.kill(keeper.pid(), 0);
    await keeper.end(true);
    closeSync(group);
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
