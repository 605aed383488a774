import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { childrenOf, contextTag, derTag, DerError } from './der.ts';
import { readStrict } from './der-strict.ts';
import {
  readBits,
  readInteger,
  readNamedBits,
  readOid,
  readSmallInteger,
  readTime,
  readTrueOrAbsent,
  textOf,
} from './der-values.ts';
import {
  algorithmWithNull,
  bits,
  der,
  derTrue,
  integer,
  namedBits,
  octets,
  oid,
  sequence,
  time,
  utf8,
  whole,
} from './der-writer.ts';
import { curveBytes, derOfEcdsaSignature, rawOfEcdsaSignature } from './ecdsa-signature.ts';
import { readPlainAlgorithm } from './signature-algorithm.ts';
import { readTimeStampResponse, writeTimeStampRequest } from './time-stamp-request.ts';

const seeded = fuzzing(20_261_124, 500);
const anyBytes = fc.uint8Array({ maxLength: 300 });
const second = 1000;
/** The times that a certificate can have: from 1950 to 9999, in whole seconds. */
const anyTime = fc
  .integer({ min: Date.UTC(1950, 0, 1) / second, max: Date.UTC(9999, 11, 31, 23, 59, 59) / second })
  .map((seconds) => new Date(seconds * second));
const anyArcs = fc.oneof(
  fc.tuple(fc.constantFrom(0, 1), fc.nat(39), fc.array(fc.nat(2 ** 31), { maxLength: 8 })),
  fc.tuple(fc.constant(2), fc.nat(2 ** 31), fc.array(fc.nat(2 ** 31), { maxLength: 8 })),
);

describe('what is written as DER is read strictly, as the same value:', () => {
  const holds = <T>(arbitrary: fc.Arbitrary<T>, property: (value: T) => void): void =>
    fc.assert(fc.property(arbitrary, property), seeded);

  test('octet strings, of every length', () =>
    holds(
      fc.oneof(
        anyBytes,
        fc.constantFrom(127, 128, 255, 256, 65_535, 65_536).map((length) => new Uint8Array(length)),
      ),
      (content) => assert.deepEqual(readStrict(octets(content)).content, Buffer.from(content)),
    ));

  test('integers, without leading zeros and never negative', () => {
    holds(anyBytes, (bytes) => {
      const content = readInteger(readStrict(integer(bytes)));
      assert.ok((content[0] ?? 0) < 0x80);
      assert.equal(
        BigInt(`0x0${content.toString('hex')}`),
        BigInt(`0x0${Buffer.from(bytes).toString('hex')}`),
      );
    });
    holds(fc.nat(2 ** 31 - 1), (value) =>
      assert.equal(readSmallInteger(readStrict(whole(value)), 'a number'), value),
    );
  });

  test('object identifiers', () =>
    holds(anyArcs, ([first, next, rest]) => {
      const dotted = [first, next, ...rest].join('.');
      assert.equal(readOid(readStrict(oid(dotted))), dotted);
      assert.equal(readPlainAlgorithm(readStrict(algorithmWithNull(dotted)), 'an algorithm'), dotted);
    }));

  test('bit strings and named bits', () => {
    holds(anyBytes, (content) =>
      assert.deepEqual(readBits(readStrict(bits(content)), 'bits'), Buffer.from(content)),
    );
    holds(fc.uniqueArray(fc.nat(8), { maxLength: 9 }), (set) =>
      assert.equal(
        readNamedBits(readStrict(namedBits(...set)), 'bits'),
        set.reduce((all, bit) => all | (1 << bit), 0),
      ),
    );
  });

  test('texts and TRUE', () => {
    holds(fc.string({ unit: 'grapheme' }), (text) =>
      assert.equal(textOf(derTag.utf8String, readStrict(utf8(text)).content), text),
    );
    assert.equal(readTrueOrAbsent(readStrict(derTrue), 'a boolean'), true);
  });

  test('times before and after 2050', () => {
    holds(anyTime, (date) => assert.equal(readTime(readStrict(time(date)), 'a time'), date.getTime()));
    assert.equal(time(new Date('2049-12-31T23:59:59Z')).toString('latin1', 2), '491231235959Z');
    assert.equal(time(new Date('2050-01-01T00:00:00.9Z')).toString('latin1', 2), '20500101000000Z');
  });

  test('trees', () => {
    const { tree } = fc.letrec<{ tree: Buffer; node: Buffer }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 5 },
        anyBytes.map(octets),
        fc.nat().map(whole),
        anyTime.map(time),
        tie('node'),
      ),
      node: fc
        .tuple(
          fc.constantFrom<number>(derTag.sequence, contextTag(0, 'constructed')),
          fc.array(tie('tree'), { maxLength: 4 }),
        )
        .map(([tag, parts]) => der(tag, ...parts)),
    }));
    holds(fc.array(tree, { maxLength: 4 }), (parts) =>
      assert.deepEqual(
        childrenOf(readStrict(sequence(...parts))).map((child) => child.whole),
        parts,
      ),
    );
  });
});

for (const [curve, size] of Object.entries(curveBytes)) {
  test(`an ECDSA signature of ${curve} is the same in DER and side by side`, () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
    for (let round = 0; round < 20; round += 1) {
      const message = Buffer.from([round]);
      const signature = sign('sha256', message, privateKey);
      const raw = rawOfEcdsaSignature(signature, size);
      assert.ok(verify('sha256', message, { key: publicKey, dsaEncoding: 'ieee-p1363' }, raw));
      assert.deepEqual(derOfEcdsaSignature(raw), signature);
    }
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2 * size, maxLength: 2 * size }), (raw) =>
        assert.deepEqual(rawOfEcdsaSignature(derOfEcdsaSignature(raw), size), Buffer.from(raw)),
      ),
      seeded,
    );
  });
}

test('an ECDSA signature with a number that is too long or negative, or with another number of them, is refused', () => {
  const one = whole(1);
  const rows = [
    sequence(one),
    sequence(one, one, one),
    sequence(one, integer(Buffer.alloc(33, 1))),
    sequence(one, der(derTag.integer, Buffer.from([0x80]))),
    Buffer.concat([sequence(one, one), Buffer.from([0])]),
    sequence(one, octets(Buffer.from([1]))),
  ];
  for (const row of rows) assert.throws(() => rawOfEcdsaSignature(row, 32), DerError, row.toString('hex'));
});

test('a timestamp request has the imprint and the nonce, and a response gives its token when the authority grants it', () => {
  const [version, imprint, nonce, withCertificates] = childrenOf(
    readStrict(writeTimeStampRequest(Buffer.from('a'), Buffer.from([0, 0xff]))),
  );
  assert.equal(readSmallInteger(version, 'the version'), 1);
  assert.equal(
    readPlainAlgorithm(childrenOf(imprint ?? assert.fail())[0], 'the digest'),
    '2.16.840.1.101.3.4.2.1',
  );
  assert.deepEqual(readInteger(nonce), Buffer.from([0, 0xff]));
  assert.equal(readTrueOrAbsent(withCertificates, 'certReq'), true);

  const token = sequence(oid('1.2.840.113549.1.7.2'));
  assert.deepEqual(readTimeStampResponse(sequence(sequence(whole(0)), token)), token);
  for (const status of [1, 2, 5])
    assert.throws(
      () => readTimeStampResponse(sequence(sequence(whole(status)), token)),
      new RegExp(`refused, with status ${status}`, 'u'),
    );
  assert.throws(() => readTimeStampResponse(sequence(sequence(whole(2)))), /refused, with status 2/u);
  assert.throws(() => readTimeStampResponse(sequence(sequence(whole(0)))), /has 1 members, not 2/u);
  assert.throws(
    () => readTimeStampResponse(sequence(sequence(whole(0)), token, token)),
    /has 3 members, not 2/u,
  );
});
