import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { framed, readFrames } from './stream-frames.ts';

test('messages are found in whatever pieces they arrive', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 }),
      fc.array(fc.nat(260), { maxLength: 12 }),
      (messages, cuts) => {
        const bytes = Buffer.concat(messages.map((message) => framed(Buffer.from(message))));
        const found: string[] = [];
        const read = readFrames((message) => found.push(message.toString('hex')));
        const marks = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
        for (const [index, to] of marks.slice(1).entries()) read(bytes.subarray(marks[index], to));
        assert.deepEqual(
          found,
          messages.map((message) => Buffer.from(message).toString('hex')),
        );
      },
    ),
  );
});

test('a length without enough bytes yields no message, and at most one incomplete message is stored', () => {
  const found: number[] = [];
  const read = readFrames((message) => found.push(message.length));
  read(Buffer.from([0xff, 0xff, 1, 2, 3]));
  read(Buffer.alloc(0xffff - 4));
  assert.deepEqual(found, []);
  read(Buffer.from([4, 0, 1, 9]));
  assert.deepEqual(found, [0xffff, 1]);
});

test('a message in pieces of one byte costs in proportion to its length', async () => {
  const messages = new Map<number, Buffer>();
  await assertNearLinear(
    'a DNS message over TCP, byte by byte',
    (length) => {
      const bytes = messages.get(length) ?? framed(Buffer.alloc(length));
      messages.set(length, bytes);
      let found = 0;
      const read = readFrames(() => (found += 1));
      for (let at = 0; at < bytes.length; at += 1) read(bytes.subarray(at, at + 1));
      if (found !== 1) throw new Error('the message was not found');
    },
    { n: 16_000 },
  );
});
