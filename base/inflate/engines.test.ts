import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { constants, deflateRawSync, gunzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { drive } from './drive.fixture.ts';
import type { Cuts } from './drive.fixture.ts';
import type { Engine } from './engine.ts';
import { findNodeEngines } from './node-engine.ts';
import { gzip, gzipEngines, incompleteCode, incompleteText, member, sampleText } from './samples.fixture.ts';

const runs = (usual: number): { seed: number; numRuns: number } => ({
  seed: Number(process.env['FUZZ_SEED'] ?? 86),
  numRuns: usual * Number(process.env['FUZZ_TIMES'] ?? 1),
});
const every = (bytes: number, output = 4096): Cuts => ({ input: () => bytes, output });

/** Returns what Node's own call returns; undefined: it refuses the bytes. */
function nodeOf(
  bytes: Buffer,
  inflate: (bytes: Buffer) => Buffer,
): { readonly bytes?: Buffer; readonly why: string } {
  try {
    return { bytes: inflate(bytes), why: '' };
  } catch (thrown) {
    return { why: (thrown as Error).message };
  }
}

const text = sampleText(300_000);
const small = sampleText(700);

test('Node offers the engines that this version was pinned for', () => {
  assert.notEqual(findNodeEngines(), undefined);
});

for (const [name, create] of Object.entries(gzipEngines())) {
  describe(`gzip by ${name}`, { skip: create === undefined && 'libisal is not installed' }, () => {
    const inflate = (bytes: Buffer, cuts: Cuts): Promise<Buffer | undefined> =>
      drive(create as () => Engine, bytes, cuts);

    for (const level of [0, 1, 6, 9]) {
      test(`level ${level}: the content is complete, however input and output are split`, async () => {
        const bytes = gzip(text, level);
        for (const cuts of [
          every(1 << 20, 1 << 20),
          every(65_536, 65_536),
          every(7919, 997),
          every(3989, text.length),
        ])
          assert.ok((await inflate(bytes, cuts))?.equals(text));
      });
    }

    test('input and output may be processed byte by byte', async () => {
      for (const cuts of [every(1, 37), every(300, 1)])
        assert.deepEqual(await inflate(gzip(small), cuts), small);
    });

    test('all strategies of a deflater are read', async () => {
      for (const strategy of [
        constants.Z_FILTERED,
        constants.Z_HUFFMAN_ONLY,
        constants.Z_RLE,
        constants.Z_FIXED,
      ])
        assert.ok(
          (await inflate(member(deflateRawSync(text, { strategy }), text), every(9973)))?.equals(text),
        );
    });

    test('several members are read, also empty members', async () => {
      const bytes = Buffer.concat([gzip('ab'), gzip(''), gzip(text), gzip(''), gzip(text, 0), gzip('z')]);
      const whole = Buffer.concat([Buffer.from('ab'), text, text, Buffer.from('z')]);
      for (const cuts of [every(1 << 20, 1 << 20), every(331, 4096), every(65_536, 333)])
        assert.ok((await inflate(bytes, cuts))?.equals(whole));
    });

    test('every field of a header is read, wherever the input is split', async () => {
      const fields = { extra: Buffer.alloc(300, 7), name: 'a name', comment: 'a comment', crc: true };
      const bytes = Buffer.concat([
        gzip('a', 6, fields),
        gzip('b', 6, { crc: true, extra: Buffer.alloc(0) }),
      ]);
      for (const length of [1, 2, 3, 7, 11, 64, 1000])
        assert.deepEqual((await inflate(bytes, every(length)))?.toString(), 'ab');
    });

    const [first] = [gzip('abc')];
    const flip = (at: number, bits = 1): Buffer => {
      const bytes = Buffer.from(first);
      const place = at < 0 ? bytes.length + at : at;
      bytes[place] = (bytes[place] as number) ^ bits;
      return bytes;
    };
    const withWrongHeader = gzip('abc', 6, { crc: true });
    withWrongHeader[4] = 99;
    for (const [what, bytes] of [
      ['a wrong CRC-32', flip(-8)],
      ['a wrong length', flip(-4)],
      ['a wrong high byte of the length', flip(-1, 0x80)],
      ['a reserved flag', flip(3, 0x20)],
      ['another method', flip(2, 1)],
      ['a wrong CRC of the header', withWrongHeader],
      ['a trailer that is cut off', first.subarray(0, -1)],
      ['no trailer', first.subarray(0, -8)],
      ['data that is cut off', first.subarray(0, 12)],
      ['a header alone', first.subarray(0, 10)],
      ['a second header alone', Buffer.concat([first, first.subarray(0, 2)])],
      ['a byte of 1 after the member', Buffer.concat([first, Buffer.from([1])])],
      ['a block of type 3', flip(10, 6)],
    ] as const) {
      test(`refused: ${what}`, async () => {
        assert.equal(nodeOf(bytes, gunzipSync).bytes, undefined);
        for (const length of [1, 5, 1000]) assert.equal(await inflate(bytes, every(length)), undefined);
      });
    }

    test('a zero byte after a member ends the stream, whatever follows', async () => {
      for (const rest of [Buffer.alloc(1), Buffer.alloc(700), Buffer.concat([Buffer.alloc(3), gzip('more')])])
        for (const length of [1, 8, 1000])
          assert.equal((await inflate(Buffer.concat([first, rest]), every(length)))?.toString(), 'abc');
    });

    test('an incomplete code gives either the content or a refusal', async () => {
      const answer = await inflate(member(incompleteCode, incompleteText), every(1000));
      // zlib reads such a code before it decodes with it, and libisal only decodes.
      assert.deepEqual(answer, name === 'Node' ? undefined : incompleteText);
    });

    test('randomly changed streams are accepted or refused as by gunzip, with the same bytes', async () => {
      const content = fc.oneof(
        fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
        fc.integer({ min: 0, max: 3000 }).map((length) => sampleText(length)),
      );
      const part = fc
        .record({
          content,
          level: fc.integer({ min: 0, max: 9 }),
          strategy: fc.integer({ min: 0, max: 4 }),
          crc: fc.boolean(),
        })
        .map(({ content: bytes, level, strategy, crc }) =>
          member(deflateRawSync(bytes, { level, strategy }), bytes, { crc }),
        );
      const change = fc.record({
        kind: fc.constantFrom('flip', 'flip', 'flip', 'cut', 'insert', 'remove'),
        at: fc.double({ min: 0, max: 1, noNaN: true }),
        byte: fc.integer({ min: 1, max: 255 }),
      });
      const cuts = fc.record({
        input: fc.constantFrom(7, 250, 4096, 1 << 20),
        output: fc.constantFrom(100, 4096, 1 << 16),
      });
      await fc.assert(
        fc.asyncProperty(
          fc.array(part, { minLength: 1, maxLength: 3 }),
          fc.array(change, { maxLength: 2 }),
          fc.constantFrom('', '', '\0', '\0\0x', '\x1f\x8b', 'x'),
          cuts,
          async (parts, changes, rest, { input, output }) => {
            const bytes = changes.reduce(changed, Buffer.concat([...parts, Buffer.from(rest, 'latin1')]));
            const expected = nodeOf(bytes, gunzipSync);
            const answer = await inflate(bytes, every(input, output));
            if (answer !== undefined && expected.bytes === undefined && name === 'libisal')
              assert.match(expected.why, /invalid .* set$/u);
            else assert.deepEqual(answer, expected.bytes);
          },
        ),
        runs(400),
      );
    });
  });
}

describe('zstd by Node', () => {
  const create = (): Engine => (findNodeEngines()?.zstd ?? assert.fail())(27);
  const frame = zstdCompressSync(text);

  test('the content is complete, however input and output are split', async () => {
    for (const cuts of [every(1 << 20, 1 << 20), every(1013, 997)])
      assert.ok((await drive(create, frame, cuts))?.equals(text));
    assert.deepEqual(await drive(create, zstdCompressSync(small), every(1)), small);
  });

  test('a frame that claims a larger window is refused', async () => {
    // Magic number, no length of the content, a window of 2^(10 + 17) or 2^(10 + 18) bytes, one last block
    // with a byte.
    const withWindow = (exponent: number): Buffer =>
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3, 9, 0, 0, 97]);
    assert.equal((await drive(create, withWindow(17), every(1000)))?.toString(), 'a');
    assert.equal(await drive(create, withWindow(18), every(1000)), undefined);
  });

  test('truncated and changed frames are accepted or refused as by Node, with the same bytes', async () => {
    const frames = [
      zstdCompressSync(sampleText(20_000)),
      zstdCompressSync(small),
      Buffer.concat([zstdCompressSync(small), zstdCompressSync('b')]),
    ];
    const change = fc.record({
      kind: fc.constantFrom('none', 'flip', 'cut', 'insert', 'remove'),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      byte: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...frames),
        change,
        fc.constantFrom(3, 250, 1 << 20),
        async (bytes, how, input) => {
          const given = changed(bytes, how);
          const expected = nodeOf(given, (all) =>
            zstdDecompressSync(all, { params: { [constants.ZSTD_d_windowLogMax]: 27 } }),
          );
          assert.deepEqual(await drive(create, given, every(input)), expected.bytes);
        },
      ),
      runs(200),
    );
  });
});

function changed(
  bytes: Buffer,
  { kind, at, byte }: { readonly kind: string; readonly at: number; readonly byte: number },
): Buffer {
  const place = Math.floor(at * bytes.length);
  const [before, after] = [bytes.subarray(0, place), bytes.subarray(place)];
  if (kind === 'cut') return Buffer.from(before);
  if (kind === 'insert') return Buffer.concat([before, Buffer.from([byte]), after]);
  if (kind === 'remove') return Buffer.concat([before, after.subarray(1)]);
  const copy = Buffer.from(bytes);
  if (kind === 'flip' && place < copy.length) copy[place] = (copy[place] as number) ^ byte;
  return copy;
}
