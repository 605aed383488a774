import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sha256Digest } from '../json/canonical-json.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { SignatureFinding } from '../findings/signature-finding.ts';
import { checkGpgSignature } from './check-signature.ts';
import { readKeyRing } from './key-ring.ts';

/** Signatures made by Debian's gpg and skopeo: fixtures/make-fixtures. */
const fixture = (name: string): Buffer => readFileSync(join(import.meta.dirname, 'fixtures', name));
const digest = sha256Digest(fixture('manifest'));
const made = new Date('2026-11-20T15:00:00Z');
const later = new Date('2031-01-01T00:00:00Z');
const subject = { digest, manifestDigest: digest, reference: 'registry.example.com/pay/app:1' };

function itemOf(bytes: Buffer): EvidenceItem {
  const found = {
    attachedTo: digest,
    foundBy: 'lookaside',
    servedBy: 'this machine',
    manifestDigest: '',
    mediaType: 'application/pgp-signature',
  };
  return {
    kind: 'gpg-simple-signing',
    ...found,
    annotations: {},
    blobDigest: sha256Digest(bytes),
    bytes: bytes.toString('base64'),
  };
}

function check(signature: string, keys: string, now = made, of = subject): SignatureFinding {
  return checkGpgSignature(itemOf(fixture(signature)), readKeyRing(fixture(keys)).keys, of, now);
}

const good = ['rsa2048', 'rsa4096', 'ed25519', 'nistp256', 'nistp384', 'nistp521'] as const;
for (const kind of good) {
  test(`counts a signature that skopeo made with ${kind}, at any later time, and only for its own key`, () => {
    const finding = check(`${kind}.signature`, `${kind}.asc`, later);
    assert.equal(finding.counted, true, finding.says);
    const [key] = readKeyRing(fixture(`${kind}.asc`)).keys;
    assert.equal(finding.proven?.signer, `gpg ${key?.fingerprint ?? ''}`);
    assert.equal(finding.proven?.claimedReference, 'registry.example.com/pay/app:1');
    assert.equal(finding.proven?.annotations?.['creator'], 'atomic 5.23.1');
    const other = check(`${kind}.signature`, kind === 'rsa2048' ? 'rsa4096.asc' : 'rsa2048.asc');
    assert.equal(other.code, 'TRUST_SIGNATURE_OTHER_KEY');
  });
}

const table: readonly (readonly [what: string, signature: string, keys: string, now: Date, code: string])[] =
  [
    ['a signing subkey', 'subkey.signature', 'subkey.gpg', later, 'TRUST_SIGNATURE_VALID'],
    ['one of several keys in a file', 'nistp256.signature', 'several.asc', made, 'TRUST_SIGNATURE_VALID'],
    ['a key that is revoked', 'revoked.signature', 'revoked.asc', made, 'TRUST_KEY_REVOKED'],
    ['a key within its time', 'short.signature', 'short.asc', made, 'TRUST_SIGNATURE_VALID'],
    ['a key after its time', 'short.signature', 'short.asc', later, 'TRUST_KEY_EXPIRED'],
    [
      'a key before its time',
      'rsa2048.signature',
      'rsa2048.asc',
      new Date('2020-01-01'),
      'TRUST_KEY_NOT_YET',
    ],
    ['SHA-1', 'sha1.signature', 'rsa2048.asc', made, 'TRUST_SIGNATURE_WEAK'],
    ['two signatures in one message', 'two.signature', 'nistp256.asc', made, 'TRUST_SIGNATURE_MALFORMED'],
    ['no message', 'manifest', 'nistp256.asc', made, 'TRUST_SIGNATURE_MALFORMED'],
    ['a key instead of a message', 'subkey.gpg', 'subkey.gpg', made, 'TRUST_SIGNATURE_MALFORMED'],
  ];
for (const [what, signature, keys, now, code] of table) {
  test(`a signature with ${what}: ${code}`, () => assert.equal(check(signature, keys, now).code, code));
}

test('says when a key that will expire stops counting', () => {
  const [key] = readKeyRing(fixture('short.asc')).keys;
  assert.equal(
    check('short.signature', 'short.asc').validUntil,
    new Date(((key?.until ?? 0) + 1) * 1000).toISOString(),
  );
});

test('a signature of another digest does not count, and the reason names both', () => {
  const other = `sha256:${'0'.repeat(64)}`;
  const finding = check('rsa2048.signature', 'rsa2048.asc', made, {
    ...subject,
    digest: other,
    manifestDigest: other,
  });
  assert.equal(finding.code, 'TRUST_SIGNATURE_OTHER_DIGEST');
  assert.match(finding.says, new RegExp(digest));
});

test('the index and the platform manifest are distinguished', () => {
  const other = `sha256:${'0'.repeat(64)}`;
  assert.deepEqual(check('rsa2048.signature', 'rsa2048.asc', made, { ...subject, digest: other }).names, [
    'manifest',
  ]);
  assert.deepEqual(
    check('rsa2048.signature', 'rsa2048.asc', made, { ...subject, manifestDigest: other }).names,
    ['index'],
  );
});

test('the name of the format before a signature is removed, and another format is refused', () => {
  const bytes = fixture('rsa2048.signature');
  const { keys } = readKeyRing(fixture('rsa2048.asc'));
  const framed = (format: string): SignatureFinding =>
    checkGpgSignature(itemOf(Buffer.concat([Buffer.from(`\0${format}\n`), bytes])), keys, subject, made);
  assert.equal(framed('simple-signing').code, 'TRUST_SIGNATURE_VALID');
  assert.equal(framed('sigstore-json').code, 'TRUST_SIGNATURE_MALFORMED');
});

test('bytes that were changed in storage are detected by their digest', () => {
  const item = itemOf(fixture('rsa2048.signature'));
  const changed = { ...item, bytes: fixture('rsa4096.signature').toString('base64') };
  const { keys } = readKeyRing(fixture('several.asc'));
  assert.equal(checkGpgSignature(changed, keys, subject, made).code, 'TRUST_EVIDENCE_ALTERED');
  assert.equal(
    checkGpgSignature({ ...item, problem: 'too large' }, keys, subject, made).code,
    'TRUST_EVIDENCE_UNUSABLE',
  );
});
