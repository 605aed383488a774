import assert from 'node:assert/strict';
import { createHash, createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { before, test } from 'node:test';
import * as noble from '@noble/ed25519';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { edwardsKeyFlaw } from './edwards-point.ts';
import { ed25519KeyOf, encodePoint, smallOrderPoints } from './fixtures/edwards-points.ts';
import { loadPrehashed } from './prehash.ts';
import { verifyWithKey } from './verify-signature.ts';

/** Ed25519 as `verifyWithKey` verifies it (Node's crypto), compared with another implementation. */

before(async () => {
  // Otherwise Ed25519ph would not be tried.
  await loadPrehashed();
  noble.hashes.sha512 = (message) => Uint8Array.from(createHash('sha512').update(message).digest());
});

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const prime = 2n ** 255n - 19n;
/** The order of the base point (RFC 8032 section 5.1). */
const order = 2n ** 252n + 27742317777372353535851937790883648493n;

/** The strict form: FIPS 186-5 instead of ZIP 215. */
const strictly = (point: Buffer, message: Buffer, signature: Buffer): boolean =>
  noble.verify(signature, message, point, { zip215: false });
const leniently = (point: Buffer, message: Buffer, signature: Buffer): boolean =>
  noble.verify(signature, message, point, { zip215: true });
const ours = (point: Buffer, message: Buffer, signature: Buffer): boolean =>
  verifyWithKey(ed25519KeyOf(point), message, signature);

/** A little-endian number of 32 bytes, as signatures contain it. */
const littleEndian = (value: bigint): Buffer => encodePoint(value);
const numberOf = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
const pointBytes = (point: noble.Point): Buffer => Buffer.from(point.toBytes());

const challenge = (r: Buffer, point: Buffer, message: Buffer): bigint =>
  numberOf(createHash('sha512').update(r).update(point).update(message).digest()) % order;

/** RFC 8032 section 7.1. */
const vectors: readonly (readonly [
  name: string,
  secret: string,
  point: string,
  message: string,
  signature: string,
])[] = [
  [
    'TEST 1',
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155' +
      '5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    'TEST 2',
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
      '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'TEST 3',
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac' +
      '18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
  [
    'TEST SHA(abc)',
    '833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42',
    'ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf',
    'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a' +
      '2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    'dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589' +
      '09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704',
  ],
];

for (const [name, secret, pointHex, messageHex, signatureHex] of vectors) {
  const [point, message, signature] = [hex(pointHex), hex(messageHex), hex(signatureHex)];

  test(`${name} of RFC 8032: both verify it, and both sign it`, () => {
    assert.deepEqual([ours(point, message, signature), strictly(point, message, signature)], [true, true]);
    const pkcs8 = Buffer.concat([hex('302e020100300506032b657004220420'), hex(secret)]);
    const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
    assert.deepEqual(sign(null, message, key), signature);
    assert.deepEqual(Buffer.from(noble.sign(message, hex(secret))), signature);
  });

  test(`${name} of RFC 8032: both refuse it with any bit changed`, () => {
    const parts = [point, signature, ...(message.length === 0 ? [] : [message])];
    fc.assert(
      fc.property(fc.nat(parts.length - 1), fc.nat(511), (which, at) => {
        const changed = parts.map((part) => Buffer.from(part));
        const part = changed[which] as Buffer;
        const bit = at % (part.length * 8);
        part[bit >> 3] = (part[bit >> 3] as number) ^ (1 << (bit & 7));
        const [changedPoint, changedSignature, changedMessage = message] = changed as [
          Buffer,
          Buffer,
          Buffer?,
        ];
        const verdicts = [ours, strictly].map((verify) =>
          verify(changedPoint, changedMessage, changedSignature),
        );
        assert.deepEqual(verdicts, [false, false]);
      }),
      fuzzing(11, 60),
    );
  });
}

test('both accept every signature by Node and by noble, for a new key', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ maxLength: 200 }),
      (secret, text) => {
        const point = Buffer.from(noble.getPublicKey(secret));
        const [message, signature] = [Buffer.from(text), Buffer.from(noble.sign(text, secret))];
        assert.deepEqual(
          [ours, strictly].map((verify) => verify(point, message, signature)),
          [true, true],
        );
        assert.equal(edwardsKeyFlaw(ed25519KeyOf(point)), undefined);
      },
    ),
    fuzzing(12, 20),
  );
});

test('a signature has one form: S is less than the order, and R is encoded in one way', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const point = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  const message = Buffer.from('message');
  const signature = sign(null, message, privateKey);
  const s = numberOf(signature.subarray(32));
  for (const larger of [s + order, s + 2n * order, s + 8n * order]) {
    const changed = Buffer.concat([signature.subarray(0, 32), littleEndian(larger)]);
    assert.deepEqual(
      [ours, strictly, leniently].map((verify) => verify(point, message, changed)),
      [false, false, false],
    );
  }
  // R is the neutral element in its one encoding and in others. The key's owner can make such signatures.
  const secret = Buffer.from(String(privateKey.export({ format: 'jwk' }).d), 'base64url');
  const { scalar } = noble.utils.getExtendedPublicKey(secret);
  for (const r of [encodePoint(1n), encodePoint(1n, 1n), encodePoint(prime + 1n)]) {
    const changed = Buffer.concat([r, littleEndian((challenge(r, point, message) * scalar) % order)]);
    assert.ok(leniently(point, message, changed), 'the equation holds');
    assert.equal(ours(point, message, changed), false, 'Node refuses an R of small order');
    assert.equal(
      strictly(point, message, changed),
      r.equals(encodePoint(1n)),
      'noble refuses other encodings alone',
    );
  }
});

for (const [name, point] of smallOrderPoints)
  test(`a key of small order verifies nothing, and is detected: ${name}`, () => {
    for (let nonce = 1n; nonce <= 16n; nonce += 1n) {
      // Anyone can make it: R is `nonce` times the base point, S is `nonce`.
      const signature = Buffer.concat([pointBytes(noble.Point.BASE.multiply(nonce)), littleEndian(nonce)]);
      const message = Buffer.from(`message ${nonce}`);
      assert.ok(leniently(point, message, signature), 'ZIP 215 accepts it');
      assert.deepEqual(
        [ours, strictly].map((verify) => verify(point, message, signature)),
        [false, false],
      );
    }
    assert.match(String(edwardsKeyFlaw(ed25519KeyOf(point))), /small order/);
  });

test('only noble multiplies by the cofactor, as RFC 8032 permits: signatures by points of mixed order differ', () => {
  const torsion = noble.Point.fromBytes(smallOrderPoints.at(-1)?.[1] as Buffer);
  const { scalar, point: honest } = noble.utils.getExtendedPublicKey(new Uint8Array(32).fill(7));
  const mixed = pointBytes(honest.add(torsion));
  assert.equal(
    edwardsKeyFlaw(ed25519KeyOf(mixed)),
    undefined,
    'only the owner of the key can make signatures for it',
  );
  let differ = 0;
  for (let nonce = 1n; nonce <= 32n; nonce += 1n) {
    const message = Buffer.from(`message ${nonce}`);
    const r = pointBytes(noble.Point.BASE.multiply(nonce));
    const k = challenge(r, mixed, message);
    const signature = Buffer.concat([r, littleEndian((nonce + k * scalar) % order)]);
    assert.ok(strictly(mixed, message, signature));
    // Without the cofactor, the challenge must cancel the part of order 8.
    assert.equal(ours(mixed, message, signature), k % 8n === 0n);
    if (k % 8n !== 0n) differ += 1;
  }
  assert.ok(differ > 0);
});

test('a key has a flaw exactly when noble decodes its bytes to a point of small order, or in ZIP 215 alone', () => {
  const decoded = (bytes: Buffer, zip215: boolean): noble.Point | undefined => {
    try {
      return noble.Point.fromBytes(bytes, zip215);
    } catch {
      return undefined;
    }
  };
  const near = (y: bigint): fc.Arbitrary<bigint> =>
    fc.bigInt({ min: 0n, max: 20n }).map((more) => (y + more) % 2n ** 255n);
  const coordinate = fc.oneof(
    near(0n),
    near(prime - 10n),
    near(2n ** 255n - 21n),
    fc.bigInt({ min: 0n, max: prime }),
  );
  let flaws = 0;
  fc.assert(
    fc.property(coordinate, fc.boolean(), (y, sign) => {
      const bytes = encodePoint(y, sign ? 1n : 0n);
      const lenient = decoded(bytes, true);
      // Not a point of the curve: no signature fits it.
      if (lenient === undefined) return;
      const strict = decoded(bytes, false);
      const flaw = edwardsKeyFlaw(ed25519KeyOf(bytes));
      assert.equal(
        flaw !== undefined,
        strict === undefined || strict.isSmallOrder(),
        `${y} ${sign}: ${flaw}`,
      );
      if (flaw !== undefined) flaws += 1;
    }),
    fuzzing(13, 400),
  );
  assert.ok(flaws > 20, `${flaws}`);
});
