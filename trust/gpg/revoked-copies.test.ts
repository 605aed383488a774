import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadPolicy } from '../policy/load.ts';
import { createTestKey } from './fixtures/openpgp-signer.ts';
import { readKeyRing } from './key-ring.ts';
import { packetTags, readPackets } from './packets.ts';
import { signatureTypes } from './signature-packet.ts';

const at = 1_720_000_000;
const revocationTypes: readonly number[] = [signatureTypes.keyRevocation, signatureTypes.subkeyRevocation];

/** Splits a certificate into its revocation and the rest. */
function parted(certificate: Buffer): { readonly before: Buffer; readonly revocation: Buffer } {
  const packets = readPackets(certificate, 100);
  const whole = packets.map(({ offset }, index) =>
    certificate.subarray(offset, packets[index + 1]?.offset ?? certificate.length),
  );
  const isRevocation = packets.map(
    ({ tag, body }) => tag === packetTags.signature && revocationTypes.includes(body[1] ?? 0),
  );
  return {
    before: Buffer.concat(whole.filter((_, index) => isRevocation[index] === false)),
    revocation: Buffer.concat(whole.filter((_, index) => isRevocation[index] === true)),
  };
}

const key = createTestKey({ revoked: { at } });
const { before, revocation } = parted(key.publicKey);
const broken = parted(createTestKey({ revoked: { at }, brokenRevocation: true }).publicKey);
const other = createTestKey();

/** Returns the fingerprints of the keys of a file that are not revoked. */
function inForce(...parts: readonly Buffer[]): readonly string[] {
  return readKeyRing(Buffer.concat(parts)).keys.flatMap((one) =>
    one.revoked === undefined && one.signing.every(({ revoked }) => revoked === undefined)
      ? [one.fingerprint]
      : [],
  );
}

// gpg applies a revocation wherever it is in a file, and merges copies of a key: gpg --import.
const rows: readonly (readonly [what: string, parts: readonly Buffer[], inForce: readonly string[]])[] = [
  ['a key', [before], [key.fingerprint]],
  ['a key and its revocation after it', [before, revocation], []],
  [
    'two keys, and the revocation of the first after both',
    [before, other.publicKey, revocation],
    [other.fingerprint],
  ],
  ['a key and its revoked copy', [before, key.publicKey], []],
  ['a revoked key and an older copy', [key.publicKey, before], []],
  ['a key and the revocation of another', [before, broken.revocation], [key.fingerprint]],
  // gpg --desig-revoke
  ['a key and one that it revoked', [other.publicKey, other.revoke(before)], [other.fingerprint]],
];
for (const [what, parts, expected] of rows)
  test(`a key file with ${what}: ${expected.length} in force`, () =>
    assert.deepEqual(inForce(...parts), expected));

test('the revocation of a subkey counts also in another copy of its key', () => {
  const withSubkey = createTestKey({ subkey: { revoked: true } });
  const parts = parted(withSubkey.publicKey);
  assert.deepEqual(inForce(parts.before), [withSubkey.fingerprint]);
  assert.deepEqual(inForce(parts.before, withSubkey.publicKey), []);
});

test('trust packets, which pubring.gpg of gpg has after each packet, separate no revocation from its subkey', () => {
  const trust = Buffer.from([0xb0, 2, 0, 0]);
  const ring = (certificate: Buffer): Buffer => {
    const packets = readPackets(certificate, 100);
    const ends = packets.map((_, index) => packets[index + 1]?.offset ?? certificate.length);
    return Buffer.concat(
      packets.flatMap(({ offset }, index) => [certificate.subarray(offset, ends[index]), trust]),
    );
  };
  const whole = createTestKey({ subkey: {} });
  assert.deepEqual(inForce(ring(whole.publicKey)), [whole.fingerprint]);
  assert.deepEqual(inForce(ring(createTestKey({ subkey: { revoked: true } }).publicKey)), []);
});

test('a key with a revocation that cannot be checked cannot be used, wherever the revocation is', () => {
  assert.throws(() => readKeyRing(Buffer.concat([broken.before, broken.revocation])), /cannot be checked/);
});

test('a revoked copy in one file of a policy revokes the key of another file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gpg-copies-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [name, bytes] of Object.entries({ 'old.gpg': before, 'new.gpg': key.publicKey }))
    writeFileSync(join(folder, name), bytes);
  for (const names of ['old.gpg, new.gpg', 'new.gpg, old.gpg']) {
    const file = join(folder, 'policy.yaml');
    const rule = `  - images: ["**"]\n    require: { gpg: { keys: [${names}] } }\n`;
    writeFileSync(file, `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n${rule}`);
    const { policy } = await loadPolicy({ paths: [file] });
    const [requirement] = policy.rules.map((one) => one.require);
    assert.ok(requirement?.kind === 'gpg');
    assert.deepEqual(
      requirement.keys.map(({ revoked }) => revoked?.at),
      [at],
    );
  }
});
