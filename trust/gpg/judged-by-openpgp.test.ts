import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readKeys, readMessage, verify } from 'openpgp';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import type { SignatureFinding } from '../findings/signature-finding.ts';
import { checkGpgSignature } from './check-signature.ts';
import { createTestKey } from './fixtures/openpgp-signer.ts';
import type { KeyOptions, SignOptions, TestKey } from './fixtures/openpgp-signer.ts';
import { readKeyRing } from './key-ring.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const subject = { digest, manifestDigest: digest, reference: 'registry.example.com/app:1' };
const payload = JSON.stringify({
  critical: {
    identity: { 'docker-reference': 'registry.example.com/app:1' },
    image: { 'docker-manifest-digest': digest },
    type: 'atomic container signature',
  },
  optional: {},
});
const now = new Date(1_750_000_000_000);
const past = 1_720_000_000;
const future = 1_800_000_000;

function ours(message: Buffer, publicKey: Buffer): SignatureFinding {
  try {
    const { keys } = readKeyRing(publicKey);
    const found = {
      attachedTo: digest,
      foundBy: '',
      servedBy: '',
      manifestDigest: '',
      mediaType: '',
      annotations: {},
    };
    const item = {
      kind: 'gpg-simple-signing',
      ...found,
      blobDigest: sha256Digest(message),
      bytes: message.toString('base64'),
    } as const;
    return checkGpgSignature(item, keys, subject, now);
  } catch (error) {
    return { counted: false, code: 'no usable key', says: (error as Error).message };
  }
}

/** Its own types require the types of a browser. */
const judge = verify as unknown as (options: object) => Promise<{
  readonly signatures: readonly { readonly verified: Promise<true> }[];
  readonly data: Uint8Array;
}>;

async function theirs(message: Buffer, publicKey: Buffer): Promise<boolean> {
  try {
    const verificationKeys = await readKeys({ binaryKeys: publicKey });
    const read = await readMessage({ binaryMessage: message });
    const { signatures, data } = await judge({
      message: read,
      verificationKeys,
      date: now,
      format: 'binary',
    });
    if (signatures.length !== 1 || Buffer.from(data).toString() !== payload) return false;
    return (await signatures[0]?.verified) === true;
  } catch {
    return false;
  }
}

const rows: readonly (readonly [
  what: string,
  key: KeyOptions,
  options: SignOptions,
  counts: boolean,
  judged?: boolean,
])[] = [
  ['Ed25519', {}, {}, true],
  ['P-256', { type: 'p256' }, {}, true],
  ['P-384 with SHA-384', { type: 'p384' }, { hash: 9 }, true],
  ['P-521 with SHA-512', { type: 'p521' }, { hash: 10 }, true],
  // gpg and RFC 9580 refuse a digest that is shorter than the curve's; openpgp.js compares only some of them.
  ['P-384 with SHA-256', { type: 'p384' }, { hash: 8 }, false, true],
  ['P-521 with SHA-384', { type: 'p521' }, { hash: 9 }, false, true],
  ['P-256 with SHA-224', { type: 'p256' }, { hash: 11 }, false, true],
  ['Ed25519 with SHA-224', {}, { hash: 11 }, false],
  ['RSA with SHA-224', { type: 'rsa' }, { hash: 11 }, true],
  ['RSA', { type: 'rsa' }, {}, true],
  ['RSA with 1024 bits', { type: 'rsa1024' }, {}, false],
  ['an uncompressed message', {}, { compress: false }, true],
  ['SHA-1 over the data', {}, { hash: 2 }, false],
  ['MD5 over the data', {}, { hash: 1 }, false],
  // gpg 2.2 and the containers library accept such keys, and older distributions have them; the file itself
  // is trusted.
  ['SHA-1 over the key itself', { hash: 2 }, {}, true, false],
  ['MD5 over the key itself', { hash: 1 }, {}, false],
  // openpgp.js checks whether the key was valid at the time of the signature; gpg and the containers library
  // check today.
  ['a key that has expired', { keyLifetime: 10_000 }, {}, false, true],
  ['a key that will expire', { keyLifetime: 90_000_000 }, {}, true],
  ['a key that was created in the future', { created: future }, {}, false],
  ['a key revoked as compromised', { revoked: { at: past, reason: 2 } }, {}, false],
  ['a key revoked without a reason', { revoked: { at: past } }, {}, false],
  ['a key that was retired', { revoked: { at: past, reason: 3 } }, {}, false, true],
  // openpgp.js ignores a revocation that it cannot check. A verifier that can check it might find that the
  // key is revoked.
  ['a revocation that cannot be checked', { revoked: { at: past }, brokenRevocation: true }, {}, false, true],
  ['a key that may only certify', { flags: 1 }, {}, false],
  ['a key without key flags', { flags: null }, {}, false],
  ['a subkey', { subkey: {} }, {}, true],
  ['a subkey that has expired', { subkey: { keyLifetime: 10_000 } }, {}, false, true],
  ['a subkey that is revoked', { subkey: { revoked: true } }, {}, false],
  ['a subkey that has not signed its primary key', { subkey: { withoutBackSignature: true } }, {}, false],
  ['a signature that has expired', {}, { lifetime: 1000 }, false],
  ['a signature that will expire', {}, { lifetime: 90_000_000 }, true],
  ['a signature that is older than its key', { created: past }, { created: past - 1 }, false],
  ['a signature as old as its key', { created: past }, { created: past }, true],
  ['a signature that was made in the future', {}, { created: future }, false],
  [
    'a critical notation',
    {},
    { subpackets: [[0x80 | 20, Buffer.from('8000000000010001', 'hex').subarray(0, 8)]] },
    false,
  ],
  ['an unknown critical subpacket', {}, { subpackets: [[0x80 | 100, Buffer.from('x')]] }, false],
  ['an unknown subpacket', {}, { subpackets: [[100, Buffer.from('x')]] }, true],
  // Simple signing covers binary data; openpgp.js also accepts text signatures.
  ['a text signature', {}, { type: 1 }, false, true],
];

for (const [what, options, signOptions, counts, judged = counts] of rows) {
  test(`${what}: ${counts ? 'counts' : 'does not count'}${judged === counts ? ', as openpgp.js says' : ''}`, async () => {
    const key = createTestKey(options);
    const message = key.sign(payload, signOptions);
    const finding = ours(message, key.publicKey);
    assert.equal(finding.counted, counts, `${finding.code}: ${finding.says}`);
    assert.equal(await theirs(message, key.publicKey), judged);
  });
}

const cases = fuzzing(5, 1500);

test('a changed message never counts for other content, and fails only with a reason', () => {
  const key = createTestKey();
  const messages = [key.sign(payload, { compress: false }), key.sign(payload)];
  fc.assert(
    fc.property(
      fc.constantFrom(...messages),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      fc.nat({ max: 3 }),
      (message, place, change, cut) => {
        const changed = Buffer.from(message);
        const at = place % changed.length;
        changed.writeUInt8(changed.readUInt8(at) ^ change, at);
        const finding = ours(cut === 0 ? changed.subarray(0, at) : changed, key.publicKey);
        // The unsigned parts (a file name, hints at the key) may change without any effect.
        if (finding.counted) assert.equal(finding.proven?.claimedReference, 'registry.example.com/app:1');
        assert.ok(finding.says.length > 0);
      },
    ),
    cases,
  );
});

test('invalid keys are refused with a reason, immediately', () => {
  const { publicKey } = createTestKey({ subkey: {} });
  const foreign = createTestKey();
  const message = foreign.sign(payload);
  const mutated = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })).map(([place, change]) => {
    const changed = Buffer.from(publicKey);
    const at = place % changed.length;
    changed.writeUInt8(changed.readUInt8(at) ^ change, at);
    return changed;
  });
  const armored = fc
    .string()
    .map((text) =>
      Buffer.from(`-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n${text}\n-----END PGP PUBLIC KEY BLOCK-----\n`),
    );
  const wild = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  const started = performance.now();
  fc.assert(
    fc.property(fc.oneof(mutated, armored, wild), (bytes) => {
      const finding = ours(message, bytes);
      assert.equal(finding.counted, false);
      assert.ok(finding.says.length > 0);
    }),
    cases,
  );
  assert.ok(performance.now() - started < 60_000);
});

test('messages that would decompress to more than the limit are refused', () => {
  const key = createTestKey();
  const finding = ours(key.sign(Buffer.alloc(64 * 1024 * 1024)), key.publicKey);
  assert.equal(finding.code, 'TRUST_SIGNATURE_MALFORMED');
  assert.match(finding.says, /more than \d+ bytes/);
});

const strict: readonly (readonly [what: string, change: (json: PayloadJson) => unknown, says: RegExp])[] = [
  ['an unknown field', (json) => ({ ...json, more: 1 }), /the unknown field "more"/],
  [
    'an unknown critical field',
    (json) => ({ ...json, critical: { ...json.critical, more: 1 } }),
    /the unknown field "more"/,
  ],
  ['no optional part', ({ critical }) => ({ critical }), /no "optional"/],
  ['an optional part that is nothing', ({ critical }) => ({ critical, optional: null }), /not an object/],
  ['a creator that is not text', (json) => ({ ...json, optional: { creator: 1 } }), /creator/],
  ['a time with a fraction', (json) => ({ ...json, optional: { timestamp: 1.5 } }), /timestamp/],
  [
    'another type',
    (json) => ({ ...json, critical: { ...json.critical, type: 'cosign container image signature' } }),
    /type/,
  ],
  [
    'an invalid digest',
    (json) => ({ ...json, critical: { ...json.critical, image: { 'docker-manifest-digest': 'sha256:00' } } }),
    /digest/,
  ],
  [
    'no image',
    (json) => ({ ...json, critical: { ...json.critical, image: {} } }),
    /no "docker-manifest-digest"/,
  ],
  ['an array', () => [], /not an object/],
];

interface PayloadJson {
  readonly critical: Readonly<Record<string, unknown>>;
  readonly optional: unknown;
}

const signer: TestKey = createTestKey();
for (const [what, change, says] of strict) {
  test(`a payload with ${what} is refused`, () => {
    const text = JSON.stringify(change(JSON.parse(payload) as PayloadJson));
    const finding = ours(signer.sign(text), signer.publicKey);
    assert.equal(finding.code, 'TRUST_SIGNATURE_MALFORMED');
    assert.match(finding.says, says);
  });
}

test('a payload that names a field twice is refused', () => {
  const twice = payload.replace('"optional":{}', '"optional":{},"optional":{}');
  assert.match(ours(signer.sign(twice), signer.publicKey).says, /twice/);
});
