import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { digestOf } from '../../base/distribution/index.ts';
import { writePem } from '../../base/pem/index.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  bundle,
  by,
  dossierOf,
  item,
  manifestBytes,
  newKey,
  ours,
  reference,
  second,
} from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { createTestKey } from '../gpg/fixtures/openpgp-signer.ts';
import { readKeyRing } from '../gpg/key-ring.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { parsePublicKey, policyKey, signerOfKey } from '../keys/public-key.ts';
import {
  chainOf,
  createAuthority,
  rootExtensions,
  signerExtensions,
} from '../notation/fixtures/authority.ts';
import type { Issued } from '../notation/fixtures/authority.ts';
import { makeNotationSignature } from '../notation/sign.ts';
import { levels } from '../requirements/notation.ts';
import type { Requirement } from '../requirements/types.ts';
import { keySigner } from '../signers/signer.ts';
import { decide } from './decide.ts';
import { explainVerdict } from './explain-verdict.ts';
import { oneNameEach } from './one-name-each.ts';

const folder = mkdtempSync(join(tmpdir(), 'one-signer-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const digest = digestOf(manifestBytes);
const now = new Date();
const day = 24 * 3600 * 1000;

const twoOf = (...of: readonly Requirement[]): Requirement => ({ kind: 'threshold', count: 2, of });

function verdictOf(require: Requirement, items: readonly EvidenceItem[], at = now): Verdict {
  const policy = policyOf({ require });
  return decide({
    dossier: dossierOf(items, { digest, manifestDigest: digest }),
    reference,
    namespace: '',
    platform: amd64,
    policy,
    now: at,
  });
}

const mine = bundle(ours, digest);

/** Returns the SPKI of a key on P-256 with its point in another form (SEC 1, section 2.3.3). */
function pointForms(key: KeyObject): Readonly<Record<'compressed' | 'hybrid', Buffer>> {
  const spki = key.export({ type: 'spki', format: 'der' });
  const [x, y] = [spki.subarray(-64, -32), spki.subarray(-32)];
  const odd = (y.at(-1) ?? 0) & 1;
  const head = Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex');
  return {
    compressed: Buffer.concat([head, Buffer.from([2 + odd]), x]),
    hybrid: Buffer.concat([spki.subarray(0, -65), Buffer.from([6 + odd]), x, y]),
  };
}

/** Returns the SPKI of an RSA key that is marked for PSS only (RFC 4055). */
function markedForPss(key: KeyObject): Buffer {
  const content = key.export({ type: 'pkcs1', format: 'der' });
  const sized = (tag: number, bytes: Buffer): Buffer =>
    Buffer.concat([Buffer.from([tag, 0x82, bytes.length >> 8, bytes.length & 0xff]), bytes]);
  const algorithm = Buffer.from('300b06092a864886f70d01010a', 'hex');
  return sized(0x30, Buffer.concat([algorithm, sized(0x03, Buffer.concat([Buffer.from([0]), content]))]));
}

const read = (name: string, spki: Buffer): Requirement => {
  const key = parsePublicKey(name, writePem('PUBLIC KEY', spki));
  assert.ok('spki' in key, JSON.stringify(key));
  return { kind: 'cosign-key', key };
};

test('one key in two encodings counts once in a threshold', () => {
  for (const [form, spki] of Object.entries(pointForms(createPublicKey(ours.private)))) {
    const again = read(`${form}.pub`, spki);
    assert.equal(verdictOf(again, [mine]).outcome, 'admit', form);
    const verdict = verdictOf(twoOf(by(ours), again), [mine]);
    assert.equal(verdict.outcome, 'deny', form);
    assert.match(explainVerdict(verdict), /2 satisfied by 1 distinct signer, 2 needed/);
    assert.equal(verdictOf(twoOf(again, by(second)), [mine, bundle(second, digest)]).outcome, 'admit');
  }
});

test('an RSA key that is also marked for PSS has one name', () => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const plain = policyKey('plain.pub', publicKey);
  assert.ok('spki' in plain);
  const marked = read('marked.pub', markedForPss(publicKey));
  assert.ok(marked.kind === 'cosign-key');
  assert.equal(signerOfKey(marked.key), signerOfKey(plain));
  const other = policyKey('other.pub', generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey);
  assert.ok('spki' in other);
  assert.notEqual(signerOfKey(other), signerOfKey(plain));
});

const authority = createAuthority(join(folder, 'authority'));
const root = authority.issue('root', { extensions: rootExtensions });
const issue = (name: string, subject: string, to?: Date): Issued =>
  authority.issue(name, {
    subject: `/C=US/ST=WA/O=example.com/CN=${subject}`,
    extensions: signerExtensions,
    by: root,
    ...(to === undefined ? {} : { to }),
  });
const anyOfRoot: Requirement = {
  kind: 'notation',
  stores: [
    {
      type: 'ca',
      name: 'ca/root',
      certificates: chainOf(root).map((one) => ({ file: 'root.crt', der: one.toString('base64') })),
    },
  ],
  identities: '*',
  level: 'strict',
  actions: levels.strict,
  verifyTimestamp: 'always',
};

function keyOf({ key, name }: Issued): SigningKey {
  const secret = createPrivateKey(readFileSync(key));
  const half = policyKey(name, createPublicKey(secret));
  assert.ok('spki' in half);
  return { public: half, private: secret };
}

async function signedBy(leaf: Issued): Promise<EvidenceItem> {
  const { mediaType, envelope } = await makeNotationSignature({
    format: 'jws',
    target: {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest,
      size: manifestBytes.length,
      annotations: {},
    },
    signer: keySigner(keyOf(leaf), { certificates: chainOf(leaf, root) }),
    now,
  });
  return item('notation-signature', envelope, {
    mediaType,
    attachedTo: digest,
    subjectBytes: manifestBytes.toString('base64'),
  });
}

test('one key counts once, as a key of cosign and in a certificate of the Notary Project', async () => {
  const [alice, bob] = [issue('alice', 'alice'), issue('bob', 'bob')];
  const items = [await signedBy(alice), bundle(keyOf(alice), digest)];
  const both = twoOf(anyOfRoot, by(keyOf(alice)));
  const verdict = verdictOf(both, items);
  assert.equal(verdict.outcome, 'deny');
  assert.match(explainVerdict(verdict), /2 satisfied by 1 distinct signer, 2 needed/);
  assert.equal(verdictOf(both, [...items, await signedBy(bob)]).outcome, 'admit');
});

test('a renewed certificate of one signer counts as the signer', async () => {
  const [old, renewed, other] = [issue('old', 'carol'), issue('renewed', 'carol'), issue('other', 'dave')];
  const items = [await signedBy(old), await signedBy(renewed)];
  assert.equal(verdictOf(twoOf(anyOfRoot, anyOfRoot), items).outcome, 'deny');
  assert.equal(verdictOf(twoOf(anyOfRoot, anyOfRoot), [...items, await signedBy(other)]).outcome, 'admit');
});

const payload = JSON.stringify({
  critical: {
    type: 'atomic container signature',
    image: { 'docker-manifest-digest': digest },
    identity: { 'docker-reference': reference },
  },
  optional: {},
});
const madeAt = Math.floor(now.getTime() / 1000) - 10;
const gpg = (...keys: readonly Buffer[]): Requirement => ({
  kind: 'gpg',
  keys: keys.flatMap((key) => readKeyRing(key).keys),
  keyFiles: [],
  lookaside: 'https://lookaside.example.com',
  constraints: { signedIdentity: { type: 'matchRepoDigestOrExact' } },
});
const gpgItem = (bytes: Buffer): EvidenceItem =>
  item('gpg-simple-signing', bytes, { mediaType: 'application/pgp-signature', foundBy: 'lookaside' });

test('a threshold is decided again when one of the signers of a part stops to count', () => {
  const [short, long] = [createTestKey({ created: madeAt }), createTestKey({ created: madeAt })];
  const lifetime = 3600;
  const items = [
    gpgItem(short.sign(payload, { created: madeAt, lifetime })),
    gpgItem(long.sign(payload, { created: madeAt })),
  ];
  // The first part stays satisfied by the second signer alone, who then is the only one.
  const require = twoOf(gpg(short.publicKey, long.publicKey), gpg(long.publicKey));
  const verdict = verdictOf(require, items);
  assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
  const end = new Date((madeAt + lifetime + 1) * 1000);
  assert.equal(verdictOf(require, items, end).outcome, 'deny');
  assert.equal(verdict.validUntil, end.toISOString());
  const nested: Requirement = { kind: 'all', of: [require, gpg(long.publicKey)] };
  assert.equal(verdictOf(nested, items).validUntil, end.toISOString());
  const renewed = gpgItem(short.sign(payload, { created: madeAt }));
  assert.equal(verdictOf(require, [...items, renewed]).validUntil, undefined);
});

test('a threshold is decided again when another signer of a satisfied part begins to count', () => {
  const [early, late] = [createTestKey({ created: madeAt }), createTestKey({ created: madeAt })];
  const begins = madeAt + day / 1000;
  const items = [
    gpgItem(early.sign(payload, { created: madeAt })),
    gpgItem(late.sign(payload, { created: begins })),
  ];
  const require = twoOf(gpg(early.publicKey, late.publicKey), gpg(early.publicKey));
  const verdict = verdictOf(require, items);
  assert.equal(verdict.outcome, 'deny');
  assert.equal(verdict.validUntil, new Date(begins * 1000).toISOString());
  assert.equal(verdictOf(require, items, new Date(begins * 1000)).outcome, 'admit');
});

test('a GPG key of the same numbers counts as the key of cosign', () => {
  const key = newKey('alice.pub');
  const signing = createTestKey({ type: 'p256', created: madeAt });
  const [ring] = readKeyRing(signing.publicKey).keys;
  const spki = ring?.signing[0]?.spki ?? '';
  const same = read('same.pub', Buffer.from(spki, 'base64'));
  assert.ok(same.kind === 'cosign-key');
  const names = [[`gpg ${ring?.fingerprint ?? ''}`, signerOfKey(same.key)], [signerOfKey(same.key)]];
  assert.equal(new Set(oneNameEach(names.map((one) => [one])).flat()).size, 1);
  assert.notEqual(signerOfKey(key.public), signerOfKey(same.key));
});

test('signers that share a name are one signer, also over a third one', () => {
  const [a, b, c, d] = [['a', 'x'], ['b', 'y'], ['c', 'y', 'x'], ['d']];
  const [first, rest] = oneNameEach([
    [a ?? [], b ?? []],
    [c ?? [], d ?? []],
  ]);
  assert.equal(first?.length, 1);
  assert.deepEqual(rest, [first?.[0], 'd']);
});
