import assert from 'node:assert/strict';
import { test } from 'node:test';
import packet from 'dns-packet';
import fc from 'fast-check';
import { answerRecords, queryFor } from './answer-records.ts';
import { encodeName } from './reply.ts';
import { type } from './message-format.ts';
import { readQuery } from './query.ts';

const question = { type: 'A' as const, name: 'www.example.com' };
const questionEnd = 12 + encodeName(question.name).length + 4;

test('aliases and addresses are read, with names written out', () => {
  const message = packet.encode({
    type: 'response',
    id: 1,
    questions: [question],
    answers: [
      { type: 'CNAME', name: 'www.example.com', data: 'host.example.com', ttl: 30 },
      { type: 'A', name: 'host.example.com', data: '192.0.2.1', ttl: 60 },
      { type: 'TXT', name: 'host.example.com', data: 'no address', ttl: 60 },
    ],
  });
  // A pointer to the question, as servers compress names.
  const pointing = Buffer.concat([
    message.subarray(0, questionEnd),
    Buffer.of(0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7),
  ]);
  pointing.writeUInt16BE(1, 6);
  const texts = (from: Buffer): unknown =>
    answerRecords(from, questionEnd)?.map(({ type: kind, ttl, owner, data }) => [
      kind,
      ttl,
      Buffer.from(owner ?? []).toString('latin1'),
      Buffer.from(data).toString('hex'),
    ]);
  const name = (text: string): string => encodeName(text).toString('latin1');
  assert.deepEqual(texts(message), [
    [type.CNAME, 30, name('www.example.com'), encodeName('host.example.com').toString('hex')],
    [type.A, 60, name('host.example.com'), 'c0000201'],
  ]);
  assert.deepEqual(texts(pointing), [[type.A, 9, name('www.example.com'), 'c0000207']]);
});

test('a name that points to itself or exceeds the message is malformed', () => {
  const head = queryFor(question.name, type.A);
  head.writeUInt16BE(1, 6);
  for (const owner of [Buffer.of(0xc0, questionEnd), Buffer.of(0xc0), Buffer.of(63, 1), Buffer.of(0x80, 0)])
    assert.equal(answerRecords(Buffer.concat([head, owner, Buffer.alloc(2)]), questionEnd), undefined);
});

test('no message makes the reader fail or take long', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 600 }), (bytes) => {
      const message = Buffer.concat([queryFor(question.name, type.A), bytes]);
      message.writeUInt16BE(0xffff, 6);
      const found = answerRecords(message, questionEnd);
      assert.ok(found === undefined || found.length <= 128);
    }),
    { seed: Number(process.env['FUZZ_SEED'] ?? 11), numRuns: 500 * Number(process.env['FUZZ_TIMES'] ?? 1) },
  );
});

test('a written query is read back with the same fields', () => {
  const read = readQuery(queryFor('www.example.com', type.AAAA));
  assert.ok(read !== undefined && !('rcode' in read));
  assert.deepEqual([read.name, read.type, read.wantsRecursion], ['www.example.com', type.AAAA, true]);
});
