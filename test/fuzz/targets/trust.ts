import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { pemBlocks, writePem } from '../../../base/pem/index.ts';
import { parseDocuments, validate } from '../../../base/schema/index.ts';
import { readKeyRing } from '../../../trust/gpg/key-ring.ts';
import { readSignedMessage } from '../../../trust/gpg/signed-message.ts';
import { openCose } from '../../../trust/notation/envelope-cose.ts';
import { openJws } from '../../../trust/notation/envelope-jws.ts';
import { parsePublicKey } from '../../../trust/keys/public-key.ts';
import { routeOf } from '../../../trust/notary/routes.ts';
import { globMatches, parseImagePattern } from '../../../trust/requirements/image-pattern.ts';
import { readStatement } from '../../../trust/attestation/statement.ts';
import { readPayload } from '../../../trust/gpg/payload.ts';
import { readCheckpoint } from '../../../trust/sigstore/checkpoint.ts';
import { trustPolicySchema } from '../../../trust/policy/schema.ts';
import { starterPolicy } from '../../../trust/policy/starter.ts';
import { readBundle } from '../../../trust/sigstore/bundle.ts';
import { embeddedTrustedRoot } from '../../../trust/sigstore/seeds.ts';
import { readTrustedRoot } from '../../../trust/sigstore/trusted-root.ts';
import { parseStrictJson } from '../../../trust/json/strict-json.ts';
import { tufCanonicalJson } from '../../../trust/tuf-metadata/canonical.ts';
import type { Dialect, TopRole } from '../../../trust/tuf-metadata/model.ts';
import { readMetadata } from '../../../trust/tuf-metadata/read.ts';
import { testRepository, written } from '../../../trust/tuf/fixtures/repository.fixture.ts';
import { readCertificate } from '../../../trust/x509/certificate.ts';
import { readTimeStamp } from '../../../trust/x509/time-stamp.ts';
import { yamlLimits } from './target.ts';
import type { FuzzTarget } from './target.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const evidence = (path: string): Buffer => readFileSync(join(root, 'trust/evidence/fixtures', path));
const gpg = (name: string): Buffer => readFileSync(join(root, 'trust/gpg/fixtures', name));
const payload = JSON.stringify({
  critical: {
    identity: { 'docker-reference': 'a' },
    image: { 'docker-manifest-digest': `sha256:${'a'.repeat(64)}` },
    type: 'cosign container image signature',
  },
  optional: { creator: 'a', timestamp: 1_700_000_000 },
});

/** A rule of each type that needs no other file. */
const policy = `${starterPolicy()}---
apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
default: deny
rules:
  - images: ["registry.example.com/pay/**"]
    namespaces: ["pay-*"]
    require:
      all:
        - sigstore: { issuer: https://token.example.com, subject: "https://example.com/a/*" }
        - attestation: { type: https://slsa.dev/provenance/v1, by: sigstore, cel: "predicate.a == 'b'" }
    onStale: { previouslyAdmitted: { for: 72h } }
  - images: ["localhost:*/dev/**"]
    allow: unverified
`;

const roles: readonly TopRole[] = ['root', 'timestamp', 'snapshot', 'targets'];

const metadataTarget = (dialect: Dialect, role: TopRole): FuzzTarget => ({
  name: `trust-${dialect}-${role}`,
  group: 'trust',
  words: [
    'ed25519',
    'ecdsa',
    'rsassa-pss-sha256',
    'delegations',
    'path_hash_prefixes',
    'terminating',
    'threshold',
    '2040-01-01T00:00:00Z',
    'Root',
    'Targets',
    'method',
  ],
  seeds() {
    const repository = testRepository(dialect);
    repository.targets = {
      targets: { latest: { length: 3, hashes: { sha256: 'a'.repeat(64) } } },
      'targets/a': {},
    };
    repository.delegations = {
      targets:
        dialect === 'tuf'
          ? { keys: {}, roles: [{ name: 'a', keyids: [], threshold: 1, paths: ['a/*'], terminating: false }] }
          : { keys: {}, roles: [{ name: 'targets/a', keyids: [], threshold: 1, paths: [''] }] },
    };
    return [written(repository)[role] as Buffer];
  },
  // A large file is cached by its digest: the second answer must equal the first.
  read: (bytes) => readMetadata(dialect, role, bytes),
});

export const targets: readonly FuzzTarget[] = [
  ...roles.flatMap((role) => [metadataTarget('tuf', role), metadataTarget('notary', role)]),
  {
    name: 'trust-json',
    group: 'trust',
    words: ['"a":', '\\u0061', '\\ud83d', '[[', '{"', '1e309', '-0'],
    seeds: () => ['{"a":[1,2.5,"x\\u0061",null,true,{}],"b":{}}'],
    // Two readers never see different contents: an accepted text is what JSON.parse reads, and its canonical
    // form reads the same.
    read(bytes) {
      const value = parseStrictJson(bytes);
      try {
        return [value, tufCanonicalJson(value).toString()];
      } catch (error) {
        if (error instanceof TypeError || error instanceof RangeError) throw error;
        return [value, (error as Error).message];
      }
    },
  },
  {
    name: 'trust-bundle',
    group: 'trust',
    words: [
      'application/vnd.dev.sigstore.bundle.v0.3+json',
      'dsseEnvelope',
      'messageSignature',
      'tlogEntries',
      'x509CertificateChain',
      'inclusionProof',
    ],
    seeds: () => [
      JSON.stringify({
        mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
        verificationMaterial: {
          publicKey: { hint: 'a' },
          tlogEntries: [],
          timestampVerificationData: { rfc3161Timestamps: [] },
        },
        dsseEnvelope: {
          payload: 'e30=',
          payloadType: 'application/vnd.in-toto+json',
          signatures: [{ sig: 'AA==', keyid: '' }],
        },
      }),
    ],
    read: (bytes) => readBundle(bytes),
  },
  {
    name: 'trust-simple-signing',
    group: 'trust',
    seeds: () => [payload],
    read: (bytes) => readPayload(bytes),
  },
  {
    name: 'trust-statement',
    group: 'trust',
    seeds: () => [
      JSON.stringify({
        _type: 'https://in-toto.io/Statement/v1',
        subject: [{ name: 'a', digest: { sha256: 'a'.repeat(64) } }],
        predicateType: 'https://slsa.dev/provenance/v1',
        predicate: { a: 1 },
      }),
    ],
    read: (bytes) => readStatement(bytes),
  },
  { name: 'trust-jws', group: 'trust', seeds: () => [], read: (bytes) => openJws(bytes) },
  { name: 'trust-cose', group: 'trust', seeds: () => [], read: (bytes) => openCose(bytes) },
  { name: 'trust-certificate', group: 'trust', seeds: () => [], read: (bytes) => readCertificate(bytes) },
  { name: 'trust-time-stamp', group: 'trust', seeds: () => [], read: (bytes) => readTimeStamp(bytes) },
  {
    name: 'trust-gpg-message',
    group: 'trust',
    seeds: () => ['ed25519', 'rsa2048', 'nistp256', 'subkey'].map((name) => gpg(`${name}.signature`)),
    read: (bytes) => readSignedMessage(bytes, 1024 * 1024),
  },
  {
    name: 'trust-gpg-keys',
    group: 'trust',
    seeds: () => [
      gpg('ed25519.asc'),
      gpg('rsa2048.asc'),
      gpg('several.asc'),
      gpg('revoked.asc'),
      gpg('subkey.gpg'),
    ],
    read: (bytes) => readKeyRing(bytes),
  },
  {
    name: 'trust-pem',
    group: 'trust',
    words: ['-----BEGIN ', '-----END ', 'CERTIFICATE-----\n', 'role: ', '\n\n', '\r\n', '='],
    seeds: () => [
      ...['ecdsa-p256.pub', 'rsa-2048.pub'].map((name) => evidence(`keys/${name}`)),
      writePem('ENCRYPTED PRIVATE KEY', Buffer.from('hello'), { role: 'root', gun: 'registry.example/a' }),
    ],
    // Blocks that were read are written in one way, and read the same.
    read: (bytes) => {
      const blocks = pemBlocks(bytes);
      for (const block of blocks) {
        const text = writePem(block.type, block.content, Object.fromEntries(block.headers));
        if (!isDeepStrictEqual(pemBlocks(text), [block]))
          throw new TypeError('a block that was written reads as another');
      }
      return blocks;
    },
  },
  {
    name: 'trust-public-key',
    group: 'trust',
    seeds: () => ['ecdsa-p256.pub', 'ed25519.pub', 'rsa-2048.pub'].map((name) => evidence(`keys/${name}`)),
    read: (bytes) => parsePublicKey('a', bytes.toString()),
  },
  {
    name: 'trust-trusted-root',
    group: 'trust',
    seeds: () => [embeddedTrustedRoot()],
    read: (bytes) => readTrustedRoot(bytes),
  },
  {
    name: 'trust-checkpoint',
    group: 'trust',
    words: ['\n\n', '\u2014 ', '\u2014'],
    seeds: () => [`log.example\n7\n${'A'.repeat(43)}=\n\n\u2014 log.example ${'A'.repeat(95)}=\n`],
    read: (bytes) => readCheckpoint(bytes.toString()),
  },
  {
    name: 'trust-policy',
    group: 'trust',
    allows: yamlLimits,
    words: ['TrustPolicy', 'require', 'any', 'all', 'threshold', 'tuf', 'cosign', 'notation', '---\n', '**'],
    seeds: () => [policy],
    read(bytes) {
      const { documents, problems } = parseDocuments(bytes.toString(), 'file.yaml');
      return [problems, documents.map((document) => validate(document, trustPolicySchema))];
    },
  },
  {
    name: 'trust-image-pattern',
    group: 'trust',
    words: ['**', '*', '?', '[', '@sha256:', ':5000/', '/**/', '*.example.com'],
    seeds: () => ['registry.example.com/pay/**', '*.example.com/*/a:v*', '**'],
    read(bytes) {
      const text = bytes.toString();
      const pattern = parseImagePattern(text.slice(0, 4096));
      return [pattern, globMatches(text.slice(0, 256), text.slice(256, 4096))];
    },
  },
  {
    name: 'trust-routes',
    group: 'trust',
    words: [
      '/v2/',
      '/_trust/tuf/',
      'root.json',
      '1.root.json',
      '.key',
      '%0a',
      '%2f',
      '%E2%82%AC',
      '..',
      '/_notary_server/health',
      'changefeed',
    ],
    seeds: () => [
      '/v2/a/b/_trust/tuf/root.json',
      '/tuf/a/1.root.json',
      '/v2/_trust/changefeed',
      `/v2/a/_trust/tuf/root.${'a'.repeat(64)}.json`,
    ],
    read: (bytes) => ['GET', 'POST', 'DELETE'].map((method) => routeOf(method, bytes.toString('latin1'))),
  },
];
