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
