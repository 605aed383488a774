import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  acknowledgementOf,
  attribute,
  attributesOf,
  decodeMessages,
  encodeMessages,
  nested,
  text,
  textOf,
} from './wire.ts';

const bytes = fc.uint8Array({ maxLength: 40 });

test('messages and attributes are unchanged after encoding and decoding', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record(
          { type: fc.nat({ max: 0xffff }), flags: fc.nat({ max: 0xffff }), body: bytes },
          { noNullPrototype: true },
        ),
        {
          maxLength: 5,
        },
      ),
      (messages) => {
        const read = decodeMessages(encodeMessages(messages, 7));
        assert.deepEqual(
          read.map(({ type, flags, body }) => ({ type, flags, body: new Uint8Array(body) })),
          messages,
        );
        assert.deepEqual(
          read.map(({ sequence }) => sequence),
          messages.map((_, index) => 7 + index),
        );
      },
    ),
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 0x3fff }), bytes), { selector: ([type]) => type }),
      (entries) => {
        const read = attributesOf(
          attributesOf(nested(5, ...entries.map(([type, value]) => attribute(type, value)))).get(5) ??
            Buffer.alloc(0),
        );
        assert.deepEqual(
          entries.map(([type]) => [type, new Uint8Array(read.get(type) ?? Buffer.of(1))]),
          entries,
        );
      },
    ),
  );
});

test('any bytes are read without an exception', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      for (const message of decodeMessages(Buffer.from(noise))) acknowledgementOf(message);
      attributesOf(Buffer.from(noise));
    }),
  );
});

test('an acknowledgement contains the error text of the kernel', () => {
  const body = Buffer.concat([
    Buffer.from(new Int32Array([-95]).buffer),
    Buffer.alloc(16),
    attribute(1, text('Unknown device type')),
  ]);
  const message = { type: 2, flags: 0x300, sequence: 1, body };
  assert.deepEqual(acknowledgementOf(message), { errno: 95, text: 'Unknown device type' });
  assert.equal(textOf(undefined), '');
});
