import assert from 'node:assert/strict';
import { test } from 'node:test';
import { framed, messageEditor } from './grpc.ts';

/** Returns the texts of the messages that a stream gets in these chunks. */
async function edited(chunks: readonly Buffer[]): Promise<string[]> {
  const texts: string[] = [];
  const stream = messageEditor((message) => {
    texts.push(message.toString());
    return message;
  });
  stream.resume();
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  await new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
  return texts;
}

test('messages are found, however they are cut into chunks', async () => {
  const texts = ['a', '', 'longer than the prefix', 'z'];
  const all = Buffer.concat(texts.map((text) => framed(Buffer.from(text))));
  for (const size of [1, 2, 5, 6, 7, all.length]) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < all.length; at += size) chunks.push(all.subarray(at, at + size));
    assert.deepEqual(await edited(chunks), texts, String(size));
  }
});

test('a chunk with many messages is not copied for each of them', async (t) => {
  const count = 5_000;
  const chunk = Buffer.concat(Array.from({ length: count }, () => framed(Buffer.from('x'))));
  let copied = 0;
  const concat = Buffer.concat.bind(Buffer);
  t.mock.method(Buffer, 'concat', (list: readonly Uint8Array[], length?: number) => {
    const made = concat(list, length);
    copied += made.length;
    return made;
  });
  assert.equal((await edited([chunk])).length, count);
  assert.ok(copied <= 2 * chunk.length, `${copied} bytes were copied of ${chunk.length}`);
});
