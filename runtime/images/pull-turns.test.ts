import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { withPullTurns } from './pull-turns.ts';
import type { ImageStore, PullRequest } from './types.ts';

/** Pulls that end when the test says so. */
function heldPulls() {
  const begun: string[] = [];
  const ends = new Map<string, (failed: boolean) => void>();
  const pull = async ({ reference }: PullRequest): Promise<never> => {
    begun.push(reference);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    ends.set(reference, (failed) => (failed ? reject(new Error('failed')) : resolve(undefined)));
    return promise as Promise<never>;
  };
  const images: Pick<ImageStore, 'pull'> = { pull };
  return { images, begun, end: (reference: string, failed = false) => ends.get(reference)?.(failed) };
}
const request = (reference: string, signal?: AbortSignal): PullRequest => ({
  reference,
  namespace: '',
  ...(signal && { signal }),
});

test('with one pull at a time, the next pull begins when the previous one has ended, even if it failed', async () => {
  const held = heldPulls();
  const { pull } = withPullTurns(held.images, 1);
  const pulls = ['a', 'b', 'c'].map((name) => pull(request(name)).catch(() => undefined));
  await nextTurn();
  assert.deepEqual(held.begun, ['a']);
  held.end('a', true);
  await pulls[0];
  await nextTurn();
  assert.deepEqual(held.begun, ['a', 'b']);
  held.end('b');
  await pulls[1];
  await nextTurn();
  held.end('c');
  await pulls[2];
  assert.deepEqual(held.begun, ['a', 'b', 'c']);
});

test('a pull that is cancelled while it waits ends at once, and takes no turn', async () => {
  const held = heldPulls();
  const { pull } = withPullTurns(held.images, 1);
  const stop = new AbortController();
  const first = pull(request('a'));
  const second = pull(request('b', stop.signal));
  const third = pull(request('c'));
  await nextTurn();
  stop.abort(new Error('enough'));
  await assert.rejects(second, { code: 'IMAGES_CANCELLED' });
  held.end('a');
  await first;
  await nextTurn();
  assert.deepEqual(held.begun, ['a', 'c']);
  held.end('c');
  await third;
});

test('the configured number of pulls run at a time, and no pull waits if there is no limit', async () => {
  for (const [most, running] of [
    [2, 2],
    [0, 5],
  ] as const) {
    const held = heldPulls();
    const { pull } = withPullTurns(held.images, most);
    const names = ['a', 'b', 'c', 'd', 'e'];
    const pulls = names.map((name) => pull(request(name)));
    await nextTurn();
    assert.equal(held.begun.length, running);
    for (const [index, name] of names.entries()) {
      held.end(name);
      await pulls[index];
      await nextTurn();
    }
    assert.deepEqual(held.begun, names);
  }
});
