import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createKeyedQueue, createSerialQueue } from './index.ts';

describe('a keyed queue', () => {
  it('runs bodies of one key in order, and does not stop at a failure', async () => {
    const queue = createKeyedQueue();
    const seen: string[] = [];
    const held = Promise.withResolvers<void>();
    const first = queue.run('a', async () => {
      await held.promise;
      seen.push('first');
      throw new Error('first');
    });
    const second = queue.run('a', () => Promise.resolve(void seen.push('second')));
    await queue.run('b', () => Promise.resolve(void seen.push('other')));
    held.resolve();
    await assert.rejects(first, /first/);
    await second;
    assert.deepEqual(seen, ['other', 'first', 'second']);
  });

  it('knows the keys of bodies that run or wait, and no others', async () => {
    const queue = createKeyedQueue();
    const held = Promise.withResolvers<void>();
    const [first, second] = [queue.run('a', () => held.promise), queue.run('a', () => Promise.resolve())];
    assert.deepEqual([[...queue.keys()], queue.has('a'), queue.has('b')], [['a'], true, false]);
    held.resolve();
    await Promise.all([first, second]);
    assert.deepEqual([[...queue.keys()], queue.has('a')], [[], false]);
  });

  it('settles after the last body, also if one fails', async () => {
    const queue = createKeyedQueue();
    const seen: string[] = [];
    const failed = queue.run('a', () => Promise.reject(new Error('no')));
    const after = queue.run('a', () => Promise.resolve(void seen.push('after')));
    await queue.settled();
    assert.deepEqual(seen, ['after']);
    await Promise.allSettled([failed, after]);
  });
});

describe('a serial queue', () => {
  it('runs bodies in order, and does not stop at a failure', async () => {
    const queue = createSerialQueue();
    const seen: string[] = [];
    const held = Promise.withResolvers<void>();
    const first = queue(async () => {
      await held.promise;
      seen.push('first');
      throw new Error('first');
    });
    const second = queue(() => Promise.resolve(seen.push('second')));
    held.resolve();
    await assert.rejects(first, /first/);
    assert.equal(await second, 2);
  });
});
