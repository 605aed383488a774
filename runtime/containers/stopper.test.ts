import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { SignalReception } from '../processes/signal-reception.ts';
import type { ContainerRecord } from './record.ts';
import { createStopper } from './stopper.ts';

/** Stops a container whose process treats signals as scripted, and ends by SIGTERM. Returns the signals. */
async function signalsOfStop(receptions: readonly SignalReception[], timeoutMs: number): Promise<string[]> {
  const sent: string[] = [];
  let look = 0;
  let end = (): void => undefined;
  const exited = new Promise<void>((resolve) => (end = resolve));
  const stopper = createStopper({
    kills: () => undefined,
    effects: {
      kill: (_record, signal) => {
        sent.push(signal);
        end();
      },
      reception: () => receptions[(look += 1) - 1] ?? receptions.at(-1) ?? 'dropped',
      isAlive: () => true,
      clock: { now: () => performance.now(), sleep: (ms) => pause(ms, undefined, { ref: false }) },
    },
    exited: () => exited,
    conclude: () => Promise.resolve(),
    current: (id) => ({ id, phase: 'running', stopSignal: 'SIGTERM' }) as ContainerRecord,
  });
  const alive = setInterval(() => undefined, 1_000);
  await stopper.stop('c1', timeoutMs);
  clearInterval(alive);
  return sent;
}

test('a process that blocks the stop signal gets it once', async () =>
  assert.deepEqual(await signalsOfStop(['blocked'], 60_000), ['SIGTERM']));

test('a signal that is blocked only for a moment is not sent in that moment', async () =>
  assert.deepEqual(await signalsOfStop(['blocked', 'dropped'], 1_000), ['SIGKILL']));

test('a process that installs its handler later gets the stop signal then', async () =>
  assert.deepEqual(await signalsOfStop(['dropped', 'blocked', 'received'], 60_000), ['SIGTERM']));

/** A container whose process ignores SIGTERM. */
function stubborn(): {
  readonly stopper: ReturnType<typeof createStopper>;
  readonly sent: string[];
} {
  const sent: string[] = [];
  let end = (): void => undefined;
  const exited = new Promise<void>((resolve) => (end = resolve));
  const stopper = createStopper({
    kills: () => undefined,
    effects: {
      kill: (_record, signal) => {
        sent.push(signal);
        if (signal === 'SIGKILL') end();
      },
      reception: () => 'received',
      isAlive: () => true,
      clock: { now: () => performance.now(), sleep: (ms) => pause(ms) },
    },
    exited: () => exited,
    conclude: () => Promise.resolve(),
    current: (id) => ({ id, phase: 'running', stopSignal: 'SIGTERM' }) as ContainerRecord,
  });
  return { stopper, sent };
}

test('a stop that is cancelled before its deadline does not kill, and a later stop does', async () => {
  const { stopper, sent } = stubborn();
  const client = new AbortController();
  const cancelled = stopper.stop('c1', 200, client.signal);
  client.abort(new Error('the client has left'));
  await assert.rejects(cancelled, /the client has left/);
  await pause(300);
  assert.deepEqual([sent, stopper.isStopping('c1')], [['SIGTERM'], false]);
  await stopper.stop('c1', 0);
  assert.deepEqual(sent, ['SIGTERM', 'SIGKILL']);
});

test('the deadline of a cancelled stop no longer counts for the others', async () => {
  const { stopper, sent } = stubborn();
  const client = new AbortController();
  const begun = performance.now();
  const [long, short] = [stopper.stop('c1', 400), stopper.stop('c1', 50, client.signal)];
  client.abort(new Error('the client has left'));
  await assert.rejects(short, /the client has left/);
  await long;
  assert.ok(performance.now() - begun >= 399);
  assert.deepEqual(sent, ['SIGTERM', 'SIGKILL']);
});

test('many stops that are cancelled take little time, and leave no timer and nothing that waits', async () => {
  let [sleeping, waiting] = [0, 0];
  const stopper = createStopper({
    kills: () => undefined,
    effects: {
      kill: () => undefined,
      reception: () => 'received',
      isAlive: () => true,
      clock: {
        now: () => performance.now(),
        sleep: async (ms) => {
          sleeping += 1;
          await pause(ms);
          sleeping -= 1;
        },
      },
    },
    exited: () => {
      waiting += 1;
      return new Promise(() => undefined);
    },
    conclude: () => Promise.resolve(),
    current: (id) => ({ id, phase: 'running', stopSignal: 'SIGTERM' }) as ContainerRecord,
  });
  const begun = performance.now();
  for (let round = 0; round < 3; round += 1) {
    const clients = Array.from({ length: 1_000 }, () => new AbortController());
    const stops = Promise.allSettled(clients.map((client) => stopper.stop('c1', 3_600_000, client.signal)));
    for (const client of clients) {
      await pause(0);
      client.abort(new Error('the client has left'));
    }
    for (const stop of await stops) assert.equal(stop.status, 'rejected');
  }
  assert.ok(performance.now() - begun < 15_000);
  await pause(1_500);
  assert.deepEqual([sleeping, waiting, stopper.isStopping('c1')], [0, 1, false]);
});
