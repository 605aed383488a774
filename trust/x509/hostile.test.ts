import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { readCertificate } from './certificate.ts';
import { childrenOf, derTag, DerError } from './der.ts';
import { readStrict } from './der-strict.ts';
import { readOid } from './der-values.ts';
import { der, integer, octets, oid, sequence, whole } from './der-writer.ts';
import {
  authorityExtensions,
  buildCertificate,
  ecdsaWithSha256,
  extension,
  signerExtensions,
  utcTime,
} from './fixtures/build-certificate.ts';

const seeded = fuzzing(20_261_121, 4000);

/**
 * A second implementation of DER, independent of the reader: decodes every element to a value and writes it
 * again.
 */
function written(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at] ?? 0;
    const first = bytes[at + 1] ?? 0;
    const count = first < 0x80 ? 0 : first & 0x7f;
    const length = count === 0 ? first : bytes.readUIntBE(at + 2, count);
    const content = bytes.subarray(at + 2 + count, at + 2 + count + length);
    parts.push(valueOf(tag, content));
    at += 2 + count + length;
  }
  return Buffer.concat(parts);
}

function valueOf(tag: number, content: Buffer): Buffer {
  if ((tag & 0x20) !== 0) {
    const inner = written(content);
    if (tag !== derTag.set) return der(tag, inner);
    const members = childrenOf({ tag, content: inner, whole: inner, offset: 0 }).map((one) => one.whole);
    return der(tag, ...members.sort((a, b) => a.compare(b)));
  }
  switch (tag) {
    case derTag.boolean:
      return der(tag, Buffer.from([content.every((byte) => byte === 0) ? 0 : 0xff]));
    case derTag.integer:
    case derTag.enumerated: {
      const value = BigInt.asIntN(content.length * 8, BigInt(`0x${content.toString('hex') || '0'}`));
      let size = 1;
      while (BigInt.asIntN(size * 8, value) !== value) size += 1;
      return der(
        tag,
        Buffer.from(
          BigInt.asUintN(size * 8, value)
            .toString(16)
            .padStart(size * 2, '0'),
          'hex',
        ),
      );
    }
    case derTag.bitString: {
      const unused = (content[0] ?? 0) & 7;
      const bits = Buffer.from(content);
      if (bits.length > 1) bits[bits.length - 1] = ((bits.at(-1) ?? 0) >> unused) << unused;
      return der(tag, bits);
    }
    case derTag.oid:
      return oid(readOid({ tag, content, whole: der(tag, content), offset: 0 }));
    case derTag.utf8String:
      return der(tag, Buffer.from(content.toString('utf8')));
    default:
      return der(tag, content);
  }
}

const leaf = buildCertificate('leaf', {
  by: buildCertificate('root'),
  extensions: [
    ...signerExtensions(),
    extension(
      '2.5.29.17',
      sequence(
        der(0x82, Buffer.from('a.test')),
        der(0x87, Buffer.from([192, 0, 2, 1])),
        der(0x81, Buffer.from('a@b.test')),
      ),
    ),
  ],
}).der;
const authority = buildCertificate('root', {
  extensions: [
    ...authorityExtensions(),
    extension('2.5.29.30', sequence(der(0xa0, sequence(der(0x82, Buffer.from('a.test'))))), true),
  ],
}).der;

const understood = ['14', '15', '17', '19', '30', '31', '35', '37'].map((last) => `2.5.29.${last}`);

/**
 * Reads the bytes, and checks that they are the only encoding of the result. @returns whether they were read
 */
function readOrRefused(bytes: Buffer): boolean {
  let extensions: readonly Buffer[];
  try {
    const read = readCertificate(bytes);
    assert.deepEqual(read.raw, bytes);
    extensions = [...read.extensions]
      .filter(([name]) => understood.includes(name))
      .map(([, { value }]) => value);
  } catch (error) {
    assert.ok(error instanceof DerError, String((error as Error).stack));
    return false;
  }
  assert.deepEqual(written(bytes), bytes);
  for (const value of extensions) assert.deepEqual(written(value), value);
  return true;
}

test('a certificate whose bytes were changed is read in its one encoding, or refused', () => {
  assert.ok(readOrRefused(leaf) && readOrRefused(authority));
  const edit = fc.record({
    at: fc.double({ min: 0, max: 0.9999, noNaN: true }),
    remove: fc.nat(2),
    insert: fc.oneof(
      fc.constantFrom([0], [1], [0x80], [0xff], [0x81, 5], [5, 0], [0x30, 0x80], [0, 0]),
      fc.array(fc.nat(255), { maxLength: 3 }),
    ),
  });
  let read = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(leaf, authority),
      fc.array(edit, { minLength: 1, maxLength: 3 }),
      (original, edits) => {
        const bytes = edits.reduce((before, { at, remove, insert }) => {
          const position = Math.floor(before.length * at);
          return Buffer.concat([
            before.subarray(0, position),
            Buffer.from(insert),
            before.subarray(position + remove),
          ]);
        }, original);
        if (readOrRefused(bytes)) read += 1;
      },
    ),
    seeded,
  );
  assert.ok(read > 0, 'no changed certificate was read: the property tested nothing');
});

test('a certificate with any bit flipped is read in its one encoding, or refused', () => {
  for (const original of [leaf, authority]) {
    for (let bit = 0; bit < original.length * 8; bit += 1) {
      const bytes = Buffer.from(original);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      readOrRefused(bytes);
    }
  }
});

test('elements of arbitrary tags, lengths and values: strictly read, or refused', () => {
  const { value } = fc.letrec<{ value: Buffer }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 5 },
      fc
        .tuple(
          fc.constantFrom(
            1,
            2,
            3,
            4,
            5,
            6,
            10,
            12,
            18,
            19,
            20,
            22,
            23,
            24,
            26,
            28,
            30,
            0x80,
            0x82,
            0x10,
            0x24,
            0x1f,
            0,
          ),
          fc.uint8Array({ maxLength: 6 }),
        )
        .map(([tag, content]) => der(tag, content)),
      fc
        .tuple(fc.constantFrom(0x30, 0x31, 0xa0, 0xa3), fc.array(tie('value'), { maxLength: 4 }))
        .map(([tag, parts]) => der(tag, ...parts)),
    ),
  }));
  fc.assert(
    fc.property(value, (bytes) => {
      try {
        readStrict(bytes);
      } catch (error) {
        assert.ok(error instanceof DerError);
        return;
      }
      assert.deepEqual(written(bytes), bytes);
    }),
    seeded,
  );
});

test('elements nested deeper than any certificate are refused', () => {
  const nested = (depth: number): Buffer =>
    Array.from({ length: depth }).reduce<Buffer>((inner) => sequence(inner), sequence());
  assert.equal(readStrict(nested(31)).tag, derTag.sequence);
  assert.throws(() => readStrict(nested(33)), /nested more than 32 deep/);
});

/**
 * Returns the least time over several rounds for n, 2n and 4n, in milliseconds, because other load only adds
 * time. Processor time has a resolution of 4 ms.
 */
function leastTimes(acts: readonly (() => unknown)[], best: number[]): readonly number[] {
  for (let round = 0; round < 15; round += 1) {
    for (const [index, act] of acts.entries()) {
      const start = performance.now();
      act();
      best[index] = Math.min(best[index] ?? 0, performance.now() - start);
    }
  }
  return best;
}

const repeated = (count: number, make: (index: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
const refused = (act: () => unknown): void => {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof DerError);
  }
};

const costs: readonly (readonly [what: string, n: number, make: (n: number) => () => unknown])[] = [
  [
    'nested sequences',
    20_000,
    (n) => {
      const bytes = Buffer.alloc(n * 4, 0);
      for (let at = 0; at < n; at += 1) bytes.set([0x30, 0x82, 0, 0], at * 4);
      return () => refused(() => readStrict(bytes));
    },
  ],
  [
    'the entries of a list',
    5_000,
    (n) => {
      const bytes = sequence(repeated(n, (index) => sequence(whole(index), utcTime('260101000000Z'))));
      return () => readStrict(bytes);
    },
  ],
  [
    'the members of a set',
    5_000,
    (n) => {
      const bytes = der(
        derTag.set,
        repeated(n, () => octets(Buffer.alloc(8))),
      );
      return () => readStrict(bytes);
    },
  ],
  [
    'the extensions of a certificate',
    500,
    (n) => {
      const list = Array.from({ length: n }, (_, index) =>
        extension(`1.3.6.1.4.1.99999.${index + 1}`, Buffer.alloc(2)),
      );
      const bytes = buildCertificate('x', { extensions: list }).der;
      return () => readCertificate(bytes);
    },
  ],
  [
    'the names of a certificate',
    250,
    (n) => {
      const list = sequence(
        repeated(n, (index) => der(0x82, Buffer.from(`a-rather-long-name-${index}.test`))),
      );
      const bytes = buildCertificate('x', { extensions: [extension('2.5.29.17', list)] }).der;
      return () => readCertificate(bytes);
    },
  ],
  [
    'the bytes of an integer',
    15_000,
    (n) => {
      const bytes = sequence(integer(Buffer.alloc(n, 0x41)), ecdsaWithSha256);
      return () => readStrict(bytes);
    },
  ],
  [
    'the arcs of an object identifier',
    100_000,
    (n) => {
      const bytes = der(derTag.oid, Buffer.alloc(n, 0x41));
      return () => readStrict(bytes);
    },
  ],
];

for (const [what, n, make] of costs)
  test(`the cost of reading grows linearly with ${what}: at most 2.5 times for each doubling`, () => {
    const acts = [n, 2 * n, 4 * n].map(make);
    // Below this time, the clock and the overhead of a call dominate.
    const floor = 0.5;
    const best = acts.map(() => Number.POSITIVE_INFINITY);
    const ratios = (): number => {
      const [once = 0, twice = 0, fourfold = 0] = leastTimes(acts, best);
      return Math.max(twice / Math.max(once, floor), fourfold / Math.max(twice, floor));
    };
    // On a loaded machine the longer runs are interrupted: more rounds find their least time. An algorithm in
    // n² has a ratio of 4 in every round.
    let ratio = ratios();
    for (let attempt = 1; attempt < 10 && ratio > 2.5; attempt += 1) ratio = ratios();
    assert.ok(ratio <= 2.5, `${ratio} times`);
  });
