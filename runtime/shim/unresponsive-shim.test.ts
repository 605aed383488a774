import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { failure } from '../../base/errors/index.ts';
import { isOwnShortage } from './connections.ts';
import { watchSilence } from './unresponsive-shim.ts';
import type { TaskApi } from './task-api.ts';

/** A clock that is moved by hand, and calls whose ends are decided by hand. */
function stage() {
  let time = 0;
  let given = 0;
  const silence = watchSilence(() => (given += 1), { now: () => time });
  let pending: PromiseWithResolvers<unknown>[] = [];
  const call = (): Promise<unknown> => {
    const made = Promise.withResolvers<unknown>();
    pending.push(made);
    return made.promise;
  };
  /** How the shim answers a probe. */
  const probe: { answer: () => Promise<unknown> } = { answer: () => Promise.reject(timeout()) };
  const connect = (): Promise<unknown> => probe.answer();
  const api = silence.watched({ kill: call, create: call, wait: call, connect } as unknown as TaskApi);
  return {
    api,
    probe,
    silence,
    move: (ms: number) => void (time += ms),
    given: () => given,
    /** Ends the oldest call that waits. */
    end: async (act: (call: PromiseWithResolvers<unknown>) => void) => {
      const [first, ...rest] = pending;
      pending = rest;
      if (first !== undefined) act(first);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
const timeout = (): Error => failure('TTRPC_TIMEOUT', 'deadline', 'call', 'it', 'no answer', 'try again');
const gone = (): Error => failure('TTRPC_NOT_FOUND', 'not-found', 'call', 'it', 'gone', 'try again');
const late = (call: PromiseWithResolvers<unknown>): void => call.reject(timeout());
const kill = (api: TaskApi, timeoutMs = 30_000): void =>
  void api.kill({ id: 'x', signal: 9 }, { timeoutMs }).catch(() => undefined);

describe('a shim that does not answer', () => {
  it('is killed if a call got no answer in time', async () => {
    const { api, move, end, given } = stage();
    move(1_000_000);
    kill(api);
    move(30_000);
    await end(late);
    assert.equal(given(), 1);
  });

  it('is not killed because one call waits for something else, if it answers a probe', async () => {
    for (const answer of [() => Promise.resolve({}), () => Promise.reject(gone())]) {
      const { api, probe, move, end, given } = stage();
      probe.answer = answer;
      kill(api);
      move(30_000);
      await end(late);
      assert.equal(given(), 0);
    }
  });

  it('is killed even if it gets another call during the probe', async () => {
    const { api, probe, move, end, given } = stage();
    const probed = Promise.withResolvers<unknown>();
    probe.answer = () => probed.promise;
    kill(api);
    move(30_000);
    await end(late);
    kill(api);
    move(10_000);
    probed.reject(timeout());
    await end(() => undefined);
    assert.equal(given(), 1);
  });

  it('is not killed because its connection ended during the probe', async () => {
    const { api, probe, move, end, given } = stage();
    probe.answer = () =>
      Promise.reject(failure('TTRPC_CLOSED', 'unavailable', 'call', 'it', 'closed', 'try again'));
    kill(api);
    move(30_000);
    await end(late);
    assert.equal(given(), 0);
  });

  it('is not killed because the daemon has no descriptor for a connection', () => {
    const failed = (why: string): Error =>
      failure('SHIM_UNREACHABLE', 'unavailable', 'connect to', 'it', why, 'try again');
    assert.equal(isOwnShortage(failed('connect EMFILE /run/x.sock')), true);
    assert.equal(isOwnShortage(failed('no answer in 10000 ms')), false);
  });

  it('is not killed because of one call if it answers another call, even with an error', async () => {
    const { api, move, end, given } = stage();
    kill(api);
    move(10_000);
    kill(api);
    let first: PromiseWithResolvers<unknown> | undefined;
    await end((call) => (first = call));
    await end((call) => call.reject(gone()));
    move(20_000);
    assert.ok(first);
    late(first);
    await end(() => undefined);
    assert.equal(given(), 0);
    kill(api, 5_000);
    move(5_000);
    await end(late);
    assert.equal(given(), 0);
  });

  it('is killed even if it gets new calls repeatedly', async () => {
    const { api, move, end, given } = stage();
    for (let asked = 0; asked < 15; asked += 1) {
      kill(api);
      move(2_000);
    }
    await end(late);
    assert.equal(given(), 1);
  });

  it('is not killed within the longer time limit of a creation, but is killed afterwards', async () => {
    const { api, move, end, given } = stage();
    void api.create({ id: 'x' }, { timeoutMs: 110_000 }).catch(() => undefined);
    kill(api);
    move(30_000);
    let create: PromiseWithResolvers<unknown> | undefined;
    await end((call) => (create = call));
    await end(late);
    assert.equal(given(), 0);
    move(80_000);
    assert.ok(create);
    late(create);
    await end(() => undefined);
    assert.equal(given(), 1);
  });

  it('may wait for the end of a task without a time limit', async () => {
    const { api, silence, move, given } = stage();
    void api.wait({ id: 'x' }, { timeoutMs: Infinity }).catch(() => undefined);
    move(10_000_000);
    assert.equal(given(), 0);
    // And such a call does not protect it.
    silence.unreachable();
    assert.equal(given(), 1);
    await Promise.resolve();
  });
});
