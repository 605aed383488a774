import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadImage, createStrictReader } from './strict-message.ts';

const read = createStrictReader(
  {
    Outer: { id: '1 u32', text: '2? string', list: '3 repeated u32', inner: '4? Inner', big: '5? u64' },
    Inner: { flag: '1? bool', inner: '2? Inner' },
  },
  50,
);
const outer = (...bytes: number[]) => read('Outer', Uint8Array.from(bytes));

describe('createStrictReader', () => {
  it('reads numbers, texts, lists in both forms and messages', () => {
    const message = outer(8, 5, 18, 1, 0x61, 26, 2, 1, 2, 24, 3, 34, 2, 8, 1);
    assert.deepEqual(
      { ...message, inner: { ...(message['inner'] as object) } },
      {
        id: 5n,
        text: 'a',
        list: [1n, 2n, 3n],
        inner: { flag: 1n },
      },
    );
  });

  const refused: Readonly<Record<string, readonly number[]>> = {
    'an unknown field': [8, 1, 48, 1],
    'a field that occurs twice': [8, 1, 8, 2],
    'a missing field': [18, 0],
    'another wire type': [10, 1, 1],
    'a number longer than its type': [8, 0xff, 0xff, 0xff, 0xff, 0x1f],
    'a number longer than needed': [8, 0x81, 0x00],
    'a number without an end': [8, 0x80],
    'a text with a zero': [8, 1, 18, 1, 0],
    'a text that is not UTF-8': [8, 1, 18, 1, 0xff],
    'a text that is cut off': [8, 1, 18, 2, 0x61],
    'a flag that is neither 0 nor 1': [8, 1, 34, 2, 8, 2],
    'more fields than allowed': [8, 1, 26, 60, ...Array<number>(60).fill(1)],
  };
  for (const [what, bytes] of Object.entries(refused))
    it(`refuses ${what}`, () => {
      assert.throws(() => outer(...bytes), BadImage);
    });

  it('refuses messages that are nested deeper than any image', () => {
    let nested = [8, 1];
    for (let depth = 0; depth < 20; depth += 1) nested = [18, nested.length, ...nested];
    assert.throws(() => outer(8, 1, 34, nested.length, ...nested), /nested/);
  });
});
