import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { SignalReception } from '../processes/signal-reception.ts';
import type { ContainerRecord } from './record.ts';
import { createStopper } from './stopper.ts';

interface Scripted {
  /** How the process treats SIGTERM, at each look; the last value stays. */
  readonly receptions?: readonly SignalReception[];
  /** Whether a signal ends the process. */
  readonly isEnd: (signal: string) => boolean;
  readonly sleep?: (ms: number) => Promise<void>;
}

/** A stopper of a container with a scripted process, and the signals that the process gets. */
function scripted({ receptions = ['received'], isEnd, sleep = (ms) => pause(ms) }: Scripted): {
  readonly stopper: ReturnType<typeof createStopper>;
  readonly sent: string[];
  readonly waiters: () => number;
} {
  const sent: string[] = [];
  let [look, waiters] = [0, 0];
  const { promise: exited, resolve: end } = Promise.withResolvers<void>();
  const stopper = createStopper({
    kills: () => undefined,
    effects: {
      kill: (_record, signal) => {
        sent.push(signal);
        if (isEnd(signal)) end();
      },
      reception: () => receptions[(look += 1) - 1] ?? receptions.at(-1) ?? 'dropped',
      isAlive: () => true,
      clock: { now: () => performance.now(), sleep },
    },
    exited: () => {
      waiters += 1;
      return exited;
    },
    conclude: () => Promise.resolve(),
    current: (id) => ({ id, phase: 'running', stopSignal: 'SIGTERM' }) as ContainerRecord,
  });
  return { stopper, sent, waiters: () => waiters };
}

/** Stops a container whose process treats signals as scripted, and ends by any. Returns the signals. */
async function signalsOfStop(receptions: readonly SignalReception[], timeoutMs: number): Promise<string[]> {
  const sleep = (ms: number): Promise<void> => pause(ms, undefined, { ref: false });
  const { stopper, sent } = scripted({ receptions, isEnd: () => true, sleep });
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
const stubborn = (): ReturnType<typeof scripted> => scripted({ isEnd: (signal) => signal === 'SIGKILL' });

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

test('many stops that are cancelled cost a few timers, and leave no timer and nothing that waits', async () => {
  let [sleeping, slept] = [0, 0];
  const { stopper, waiters } = scripted({
    isEnd: () => false,
    sleep: async (ms) => {
      [sleeping, slept] = [sleeping + 1, slept + 1];
      await pause(ms);
      sleeping -= 1;
    },
  });
  const count = 3_000;
  const clients = Array.from({ length: count }, () => new AbortController());
  const stops = Promise.allSettled(clients.map((client) => stopper.stop('c1', 3_600_000, client.signal)));
  for (const client of clients) {
    await pause(0);
    client.abort(new Error('the client has left'));
  }
  for (const stop of await stops) assert.equal(stop.status, 'rejected');
  await pause(1_500);
  assert.deepEqual([sleeping, waiters(), stopper.isStopping('c1')], [0, 1, false]);
  // When each stop woke the others, there were hundreds of timers for each stop.
  assert.ok(slept < 10 * count, `${slept} timers`);
});
