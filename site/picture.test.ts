import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import { readPicture } from './picture.ts';

/** Returns a PNG of lines that have a filter each: the bytes as they are in the file. */
function png(
  width: number,
  height: number,
  lines: readonly (readonly number[])[],
  form: readonly number[] = [8, 2],
): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set(form, 8);
  const chunk = (type: string, body: Buffer): Buffer => {
    const content = Buffer.concat([Buffer.from(type), body]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(body.length);
    sum.writeUInt32BE(crc32(content));
    return Buffer.concat([length, content, sum]);
  };
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.from(lines.flat()))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

describe('a picture', () => {
  it('has its size, its background and its brightness', () => {
    const white = [255, 255, 255];
    const file = png(2, 2, [
      [0, ...white, ...white],
      [0, ...white, 0, 0, 0],
    ]);
    assert.deepEqual(readPicture(file), { width: 2, height: 2, background: 0.75, brightness: 191.25 });
  });

  // The same two lines, (10 20 30)(40 50 60) and (70 80 90)(100 110 120), in the five filters of PNG.
  const first = [0, 10, 20, 30, 40, 50, 60];
  for (const [name, second] of [
    ['none', [0, 70, 80, 90, 100, 110, 120]],
    ['sub', [1, 70, 80, 90, 30, 30, 30]],
    ['up', [2, 60, 60, 60, 60, 60, 60]],
    ['average', [3, 65, 70, 75, 45, 45, 45]],
    ['Paeth', [4, 60, 60, 60, 30, 30, 30]],
  ] as const)
    it(`is read with the filter ${name}`, () => {
      const { background, brightness } = readPicture(png(2, 2, [first, second]));
      assert.deepEqual([background, brightness], [0.25, (20 + 50 + 80 + 110) / 4]);
    });

  it('may have transparency', () => {
    const { background, brightness } = readPicture(png(1, 1, [[0, 9, 9, 9, 255]], [8, 6]));
    assert.deepEqual([background, brightness], [1, 9]);
  });

  for (const [name, file, says] of [
    ['another format', Buffer.from('<html>'), /not a PNG/],
    ['no data', Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), /no header/],
    ['missing lines', png(2, 2, [[0, 1, 1, 1, 1, 1, 1]]), /all of its lines/],
    ['a palette', png(1, 1, [[0, 0]], [8, 3]), /unexpected form/],
    ['an unknown filter', png(1, 1, [[9, 0, 0, 0]]), /unknown filter: 9/],
  ] as const)
    it(`with ${name} is refused`, () => {
      assert.throws(() => readPicture(file), says);
    });
});
