import assert from 'node:assert/strict';
import { createPrivateKey, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { preAuthEncoding } from '../keys/dsse.ts';
import { bundleMediaType, inTotoPayloadType, signatureAnnotation } from '../evidence/cosign-names.ts';
import { digest, dossierOf, item, reference, simpleFor } from '../evidence/fixtures/sample-evidence.ts';
import { amd64 } from '../evidence/fixtures/fixture-image.ts';
import { loadPolicy } from '../policy/load.ts';
import { imageStatement } from '../signing/dsse-bundle.ts';
import { bundleVerifications } from '../keys/remembered.ts';
import { createAuthority, rootExtensions } from '../notation/fixtures/authority.ts';
import type { Issued } from '../notation/fixtures/authority.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-pki-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const authority = createAuthority(join(folder, 'ca'));
const root = authority.issue('root', { extensions: rootExtensions });
const between = authority.issue('between', { by: root, extensions: rootExtensions });
const day = 24 * 3600 * 1000;
const to = new Date(Math.floor(Date.now() / 1000) * 1000 + 2 * day);
const text = ({ certificate }: Issued): string => readFileSync(certificate, 'utf8');
const names = 'subjectAltName=email:mitr@example.com,DNS:sign.example.com';
const signer = authority.issue('signer', {
  by: between,
  extensions: ['basicConstraints=CA:FALSE', 'extendedKeyUsage=codeSigning', names],
  to,
});
const edward = authority.issue('edward', {
  by: between,
  extensions: ['basicConstraints=CA:FALSE', 'extendedKeyUsage=codeSigning', names],
  algorithm: ['-algorithm', 'ED25519'],
  to,
});
writeFileSync(join(folder, 'roots.pem'), text(root));
writeFileSync(join(folder, 'between.pem'), text(between));

function simple(by = signer, chain = [between, root]): EvidenceItem {
  const payload = simpleFor(digest);
  const key = createPrivateKey(readFileSync(by.key));
  const signature = sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', payload, key).toString(
    'base64',
  );
  return item('cosign-simple-signing', payload, {
    annotations: {
      [signatureAnnotation]: signature,
      'dev.sigstore.cosign/certificate': text(by),
      'dev.sigstore.cosign/chain': chain.map(text).join(''),
    },
  });
}

function bundle(by = signer): EvidenceItem {
  const payload = imageStatement(digest);
  const sig = sign('sha256', preAuthEncoding(inTotoPayloadType, payload), readFileSync(by.key)).toString(
    'base64',
  );
  const rawBytes = text(by).replace(/-----[^-]+-----|\s/g, '');
  return item(
    'sigstore-bundle',
    Buffer.from(
      JSON.stringify({
        mediaType: bundleMediaType,
        verificationMaterial: { certificate: { rawBytes } },
        dsseEnvelope: {
          payload: payload.toString('base64'),
          payloadType: inTotoPayloadType,
          signatures: [{ sig }],
        },
      }),
    ),
  );
}

async function policyOf(pki: string): Promise<TrustPolicy> {
  const file = join(folder, 'policy.yaml');
  writeFileSync(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require:\n      ${pki}\n`,
  );
  return (await loadPolicy({ paths: [file] })).policy;
}

function verdict(policy: TrustPolicy, items: readonly EvidenceItem[], now = new Date()): Verdict {
  return decide({ dossier: dossierOf(items), reference, namespace: '', platform: amd64, policy, now });
}

const email = 'pki: { roots: roots.pem, email: mitr@example.com }';
const known =
  'pki: { roots: roots.pem, intermediates: between.pem, email: mitr@example.com, hostname: sign.example.com }';
const rows: readonly (readonly [
  name: string,
  pki: string,
  item: () => EvidenceItem,
  outcome: Verdict['outcome'],
  says: RegExp,
])[] = [
  ['a signature that contains its chain', email, () => simple(), 'admit', /signature.*is valid/],
  [
    'a signature without the intermediate certificates',
    email,
    () => simple(signer, []),
    'deny',
    /no trusted authority has issued/,
  ],
  [
    'a signature whose intermediate certificates the policy names',
    known,
    () => simple(signer, []),
    'admit',
    /is valid/,
  ],
  ['a bundle', known, () => bundle(), 'admit', /is valid/],
  [
    'a bundle whose intermediate certificates are not known',
    email,
    () => bundle(),
    'deny',
    /no trusted authority has issued/,
  ],
  ['an Ed25519 certificate', email, () => simple(edward), 'admit', /is valid/],
  [
    'somebody else',
    'pki: { roots: roots.pem, email: other@example.com }',
    () => simple(),
    'deny',
    /by mitr@example\.com, not by other@example\.com/,
  ],
  [
    'another host',
    'pki: { roots: roots.pem, hostname: other.example.com }',
    () => simple(),
    'deny',
    /not for the host other\.example\.com/,
  ],
  ['a changed payload', email, () => ({ ...simple(), ...changed(simple()) }), 'deny', /does not match/],
  ['a damaged certificate', email, () => damaged(simple()), 'deny', /certificate cannot be used/],
];
function changed({ annotations }: EvidenceItem): EvidenceItem {
  return item(
    'cosign-simple-signing',
    Buffer.from(simpleFor(digest).toString().replace('pay/app', 'pay/axx')),
    { annotations },
  );
}
function damaged(one: EvidenceItem): EvidenceItem {
  const pem = one.annotations['dev.sigstore.cosign/certificate'] ?? '';
  return {
    ...one,
    annotations: {
      ...one.annotations,
      'dev.sigstore.cosign/certificate': pem.replace(/\nMI[^\n]{20}/, '\nMI'),
    },
  };
}
for (const [name, pki, made, outcome, says] of rows) {
  test(`${name}: ${outcome}`, async () => {
    const reported = verdict(await policyOf(pki), [made()]);
    assert.equal(reported.outcome, outcome, explainVerdict(reported));
    assert.match(explainVerdict(reported), says);
  });
}

test('a verdict is valid as long as the certificate, and a certificate that is not yet valid counts from its start', async () => {
  const policy = await policyOf(email);
  assert.equal(verdict(policy, [simple()]).validUntil, new Date(to.getTime() + 1).toISOString());
  const later = verdict(policy, [simple()], new Date(to.getTime() + 1));
  assert.equal(later.outcome, 'deny');
  assert.match(explainVerdict(later), /is valid from/);
  const before = verdict(policy, [simple()], new Date(Date.now() - 10 * day));
  assert.equal(before.outcome, 'deny');
  assert.ok(Date.parse(before.validUntil ?? '') > Date.now() - 2 * day);
});

test('many containers and authorities cost one verification', async () => {
  const policy = await policyOf(`any: [${Array.from({ length: 5 }, () => `{ ${email} }`).join(', ')}]`);
  const signed = simple();
  const before = bundleVerifications();
  for (let container = 0; container < 8; container += 1)
    assert.equal(verdict(policy, [signed]).outcome, 'admit');
  assert.ok(bundleVerifications() - before <= 1);
});

for (const [name, pki, why] of [
  ['no subject', 'pki: { roots: roots.pem }', /policy\.yaml:6:/],
  ['a pattern', 'pki: { roots: roots.pem, email: "*@example.com" }', /compared exactly/],
  ['an age', 'pki: { roots: roots.pem, email: a@b.c, maxAge: 3d }', /can never be met/],
  ['a file that does not exist', 'pki: { roots: nowhere.pem, email: a@b.c }', /there is no such file/],
  ['a key instead of a certificate', 'pki: { roots: ca/root.key, email: a@b.c }', /private key/],
] as const) {
  test(`a requirement with ${name} is refused with its position`, async () => {
    await assert.rejects(
      policyOf(pki),
      (error: unknown) =>
        isPortcullisError(error) && why.test(error.message) && /policy\.yaml:\d+:\d+/.test(error.message),
    );
  });
}
