import { test } from 'node:test';
import { assertNearLinear } from '../../../test/fixtures/cost.ts';
import { controlFrame, createFrameParser, dataHeader, frameTypes } from './frames.ts';

/** The largest control frame, and a data frame of the same length, by their length. */
function made(frames: Map<number, Buffer>, length: number, make: () => Buffer): Buffer {
  const known = frames.get(length) ?? make();
  frames.set(length, known);
  return known;
}

/** Gives a parser the bytes one at a time. @returns how many frames it found */
function inPiecesOfOne(bytes: Buffer): number {
  const parse = createFrameParser();
  let found = 0;
  for (let at = 0; at < bytes.length; at += 1) found += parse(bytes.subarray(at, at + 1)).length;
  return found;
}

test('the cost of a control frame in pieces of one byte is proportional to its length', async () => {
  const frames = new Map<number, Buffer>();
  await assertNearLinear(
    'a control frame, byte by byte',
    (length) => {
      const frame = made(frames, length, () => controlFrame(frameTypes.ping, 0, Buffer.alloc(length)));
      if (inPiecesOfOne(frame) !== 1) throw new Error('the frame was not found');
    },
    { n: 16 * 1024 },
  );
});

test('the cost of a data frame in pieces of one byte is proportional to its length', async () => {
  const frames = new Map<number, Buffer>();
  await assertNearLinear(
    'a data frame, byte by byte',
    (length) => {
      const frame = made(frames, length, () =>
        Buffer.concat([dataHeader(1, length, true), Buffer.alloc(length)]),
      );
      if (inPiecesOfOne(frame) !== length) throw new Error('its bytes were not passed on');
    },
    { n: 16 * 1024 },
  );
});
