import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { gathered } from './gathered.ts';

/** Returns the lengths of the pieces that arrive within a few turns of the event loop. */
function reading(next: () => Promise<Uint8Array | undefined>): { readonly lengths: (number | string)[] } {
  const lengths: (number | string)[] = [];
  void (async () => {
    try {
      for (let piece = await next(); piece !== undefined; piece = await next()) lengths.push(piece.length);
      lengths.push('end');
    } catch (error) {
      lengths.push(String(error));
    }
  })();
  return { lengths };
}

async function turns(): Promise<void> {
  for (let count = 0; count < 5; count += 1) await turn();
}

const streamOf = (): PassThrough => new PassThrough({ highWaterMark: 1000 });

test('pieces are returned when enough bytes have arrived, and at the end', async () => {
  const stream = streamOf();
  const { lengths } = reading(gathered(stream, 100));
  stream.write(Buffer.alloc(40));
  await turns();
  stream.write(Buffer.alloc(59));
  await turns();
  assert.deepEqual(lengths, []);
  stream.write(Buffer.alloc(1));
  await turns();
  assert.deepEqual(lengths, [40, 59, 1]);
  stream.write(Buffer.alloc(7));
  await turns();
  assert.deepEqual(lengths, [40, 59, 1]);
  stream.end();
  await turns();
  assert.deepEqual(lengths, [40, 59, 1, 7, 'end']);
});

test('a stream without pieces ends', async () => {
  const stream = streamOf();
  const { lengths } = reading(gathered(stream, 100));
  stream.end();
  await turns();
  assert.deepEqual(lengths, ['end']);
});

test('the pieces before a failure are returned first', async () => {
  const stream = streamOf();
  const { lengths } = reading(gathered(stream, 100));
  stream.write(Buffer.alloc(40));
  await turns();
  stream.destroy(new Error('connection lost'));
  await turns();
  assert.deepEqual(lengths, [40, 'Error: connection lost']);
});

test('a stream that is closed early has failed', async () => {
  const stream = streamOf();
  const { lengths } = reading(gathered(stream, 100));
  stream.destroy();
  await turns();
  assert.deepEqual(lengths, ['Error: the stream was closed before its end']);
});

test('a stream whose pieces nobody takes is paused', async () => {
  const stream = streamOf();
  const next = gathered(stream, 100);
  for (let count = 0; count < 10; count += 1) stream.write(Buffer.alloc(100));
  await turns();
  assert.ok(stream.isPaused());
  assert.equal(stream.readableLength, 900);
  assert.equal((await next())?.length, 100);
  const { lengths } = reading(next);
  stream.end();
  await turns();
  assert.deepEqual(lengths, [...Array.from({ length: 9 }, () => 100), 'end']);
});
