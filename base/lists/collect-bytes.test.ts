import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { queryObjects } from 'node:v8';
import { collectBytes } from './index.ts';

describe('bytes that arrive in pieces', () => {
  it('are all returned in their order, whatever the lengths of the pieces are', () => {
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 251));
    const lengths = [1, 0, 1023, 1024, 3, 20_000, 255, 257, 1, 1024];
    const bytes = collectBytes();
    for (let at = 0, turn = 0; at < content.length; turn += 1) {
      const length = lengths[turn % lengths.length] ?? 1;
      bytes.add(content.subarray(at, at + length));
      at += length;
    }
    assert.ok(bytes.join().equals(content));
    assert.ok(bytes.join().equals(content), 'a second time');
    assert.equal(collectBytes().join().length, 0);
  });

  it('take memory for at most about their length, also in pieces of one byte', () => {
    const [pieces, wire] = [200_000, Buffer.alloc(1)];
    const before = { held: Number(queryObjects(Buffer)), bytes: process.memoryUsage().arrayBuffers };
    const bytes = collectBytes();
    for (let count = 0; count < pieces; count += 1) bytes.add(wire.subarray(0, 1));
    assert.ok(Number(queryObjects(Buffer)) - before.held < 1000);
    assert.ok(process.memoryUsage().arrayBuffers - before.bytes < 2 * pieces);
    assert.equal(bytes.join().length, pieces);
  });
});
