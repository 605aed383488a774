import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSharedFlight } from './shared-flight.ts';

const never = new AbortController().signal;

test('concurrent callers share one run, and later callers start another', async () => {
  const flight = createSharedFlight<number>();
  const gates: ((value: number) => void)[] = [];
  const body = () => new Promise<number>((resolve) => gates.push(resolve));
  const together = [
    flight.join('a', never, body),
    flight.join('a', never, body),
    flight.join('b', never, body),
  ];
  assert.equal(flight.runs, 2);
  gates.forEach((open, index) => open(index));
  assert.deepEqual(await Promise.all(together), [0, 0, 1]);
  const next = flight.join('a', never, body);
  gates.at(-1)?.(7);
  assert.equal(await next, 7);
  assert.equal(flight.runs, 3);
});

test('all callers share a failure, and it is not cached', async () => {
  const flight = createSharedFlight<number>();
  const fail = () => Promise.reject(new Error('no'));
  for (const result of await Promise.allSettled([
    flight.join('a', never, fail),
    flight.join('a', never, fail),
  ]))
    assert.equal(result.status, 'rejected');
  assert.equal(await flight.join('a', never, () => Promise.resolve(1)), 1);
});

test('a caller that leaves does not affect others; the run is aborted when the last caller has left, and no caller joins it then', async () => {
  const flight = createSharedFlight<number>();
  const [first, second] = [new AbortController(), new AbortController()];
  let stopped = 0;
  const body = (signal: AbortSignal) =>
    new Promise<number>((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        stopped += 1;
        reject(new Error('stopped'));
      });
    });
  const a = flight.join('x', first.signal, body);
  const b = flight.join('x', second.signal, body);
  first.abort(new Error('first has gone'));
  await assert.rejects(a, /first has gone/);
  assert.equal(stopped, 0);
  second.abort(new Error('second has gone'));
  await assert.rejects(b, /second has gone/);
  assert.equal(stopped, 1);
  assert.equal(await flight.join('x', never, () => Promise.resolve(2)), 2);
  await assert.rejects(
    flight.join('x', first.signal, () => Promise.resolve(3)),
    /first has gone/,
  );
});
