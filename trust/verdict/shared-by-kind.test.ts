import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { digestOf } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { dossierOf, item } from '../evidence/fixtures/sample-evidence.ts';
import { createTestKey } from '../gpg/fixtures/openpgp-signer.ts';
import { readKeyRing } from '../gpg/key-ring.ts';
import { policyKey } from '../keys/public-key.ts';
import {
  chainOf,
  createAuthority,
  rootExtensions,
  signerExtensions,
} from '../notation/fixtures/authority.ts';
import { levels } from '../requirements/notation.ts';
import { makeNotationSignature } from '../notation/sign.ts';
import { loadPolicy } from '../policy/load.ts';
import { bundleVerifications } from '../keys/remembered.ts';
import { keySigner } from '../signers/signer.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import type { Requirement } from '../requirements/types.ts';
import { decide } from './decide.ts';
import { explainVerdict } from './explain-verdict.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-shared-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
const digest = digestOf(manifest);
const reference = 'registry.example.com/app:1';
const authority = createAuthority(folder);
const root = authority.issue('root', { extensions: rootExtensions });
const signer = authority.issue('signer', { by: root, extensions: signerExtensions });

async function notationItem(format: 'jws' | 'cose'): Promise<EvidenceItem> {
  const secret = createPrivateKey(readFileSync(signer.key));
  const key = policyKey('signer', createPublicKey(secret));
  assert.ok('spki' in key);
  const chain = chainOf(signer, root);
  const target = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest,
    size: manifest.length,
    annotations: {},
  };
  const made = await makeNotationSignature({
    format,
    target,
    signer: { ...keySigner({ private: secret, public: key }), certificates: chain },
    now: new Date(),
  });
  return item('notation-signature', made.envelope, {
    attachedTo: digest,
    mediaType: made.mediaType,
    subjectBytes: manifest.toString('base64'),
  });
}

const notation: Requirement = {
  kind: 'notation',
  stores: [
    {
      type: 'ca',
      name: 'ca/k8s',
      certificates: chainOf(root).map((der) => ({ file: 'root.crt', der: der.toString('base64') })),
    },
  ],
  identities: '*',
  level: 'strict',
  actions: levels.strict,
  verifyTimestamp: 'always',
};

const gpg = createTestKey();
const gpgItem = (): EvidenceItem => {
  const payload = {
    critical: {
      identity: { 'docker-reference': reference },
      image: { 'docker-manifest-digest': digest },
      type: 'atomic container signature',
    },
    optional: { creator: 'test', timestamp: 1_700_000_000 },
  };
  return item('gpg-simple-signing', gpg.sign(JSON.stringify(payload)), { attachedTo: digest });
};

const kinds: readonly (readonly [
  name: string,
  made: () => EvidenceItem | Promise<EvidenceItem>,
  requirement: Requirement,
])[] = [
  ['notation (JWS)', () => notationItem('jws'), notation],
  ['notation (COSE)', () => notationItem('cose'), notation],
  [
    'GPG',
    gpgItem,
    {
      kind: 'gpg',
      keys: readKeyRing(gpg.publicKey).keys,
      keyFiles: ['k.gpg'],
      lookaside: 'file:///s',
      constraints: {},
    },
  ],
];

for (const [name, made, requirement] of kinds) {
  test(`eight containers and five authorities on one digest cost one verification (${name}), and an altered one its own`, async () => {
    const signed = await made();
    // As in a policy: each requirement is a separate object.
    const of = Array.from({ length: 5 }, () => structuredClone(requirement));
    const policy = policyOf({ require: { kind: 'all', of } });
    const ask = (namespace: string, evidence = signed): Verdict => {
      const dossier = dossierOf([structuredClone(evidence)], { reference, digest, manifestDigest: digest });
      return decide({ dossier, reference, namespace, platform: amd64, policy, now: new Date() });
    };
    const before = bundleVerifications();
    for (let container = 0; container < 8; container += 1) {
      const verdict = ask(`team-${container}`);
      assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
    }
    // A process that signs has already read its own signature.
    assert.equal(bundleVerifications() - before, requirement.kind === 'notation' ? 0 : 1);
    const bytes = Buffer.from(signed.bytes ?? '', 'base64');
    bytes[bytes.length - 5] = (bytes.at(-5) ?? 0) ^ 1;
    const altered = { ...signed, bytes: bytes.toString('base64'), blobDigest: digestOf(bytes) };
    assert.equal(ask('team-0', altered).outcome, 'deny');
    assert.equal(ask('team-0').outcome, 'admit');
  });
}

test('a signature format without a name is not required to carry one', async () => {
  const file = join(folder, 'policy.yaml');
  const rule = 'notation: { certificates: { ca: [root.crt] }, signedIdentity: { type: matchRepository } }';
  writeFileSync(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require:\n      ${rule}\n`,
  );
  await assert.rejects(
    loadPolicy({ paths: [file] }),
    (error: unknown) =>
      isPortcullisError(error) && /policy\.yaml:6:\d+.*can never be met.*remove it/s.test(error.message),
  );
});
