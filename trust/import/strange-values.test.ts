import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { hostileVariants } from '../evidence/fixtures/hostile-json.ts';
import { loadPolicy } from '../policy/load.ts';
import { importPolicy } from './index.ts';
import type { ImportFormat } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'strange-values-'));
after(() => rmSync(folder, { recursive: true }));

const identities = [{ issuer: 'i', subject: 's' }];
const documents: Readonly<Record<ImportFormat | 'TrustPolicy', object>> = {
  containers: {
    default: [{ type: 'reject' }],
    transports: {
      docker: {
        'x.test/a': [
          {
            ...{ type: 'sigstoreSigned', keyPath: '/k', rekorPublicKeyPath: '/r' },
            fulcio: { caPath: '/c', oidcIssuer: 'i', subjectEmail: 'e' },
            signedIdentity: { type: 'remapIdentity', prefix: 'a', signedPrefix: 'b' },
          },
        ],
      },
    },
  },
  notation: {
    version: '1.0',
    trustPolicies: [
      {
        ...{ name: 'a', registryScopes: ['x.test/a'], trustStores: ['ca:x'] },
        signatureVerification: { level: 'strict', override: { revocation: 'log' } },
        trustedIdentities: ['x509.subject: C=US, ST=WA, O=x'],
      },
    ],
  },
  'cluster-image-policy': {
    ...{ apiVersion: 'policy.sigstore.dev/v1beta1', kind: 'ClusterImagePolicy', metadata: { name: 'a' } },
    spec: {
      ...{ mode: 'warn', images: [{ glob: 'x.test/**' }] },
      authorities: [
        { name: 'k', keyless: { url: 'https://f', identities }, ctlog: { url: 'https://r' } },
        { static: { action: 'pass' } },
      ],
    },
  },
  kyverno: {
    ...{ apiVersion: 'kyverno.io/v1', kind: 'ClusterPolicy', metadata: { name: 'a' } },
    spec: {
      rules: [
        {
          ...{ name: 'r', match: { any: [{ resources: { kinds: ['Pod'], namespaces: ['a'] } }] } },
          verifyImages: [
            {
              ...{ imageReferences: ['x.test/*'], required: true },
              attestors: [{ count: 1, entries: [{ keyless: { subject: 's', issuer: 'i' } }] }],
            },
          ],
        },
      ],
    },
  },
  TrustPolicy: {
    ...{
      apiVersion: 'portcullis.dev/v1alpha1',
      kind: 'TrustPolicy',
      metadata: { name: 'a' },
      default: 'deny',
    },
    rules: [
      {
        ...{ images: ['x.test/**'], namespaces: ['a'], entitlements: { ceiling: 'baseline' } },
        require: { all: [{ cosign: { key: 'k' } }, { sigstore: { issuer: 'i', subject: 's' } }] },
      },
    ],
  },
};

for (const [format, document] of Object.entries(documents))
  test(`each strange value in a policy (${format}) is read or refused with a code`, async () => {
    const file = join(folder, 'policy.json');
    for (const changed of hostileVariants(document)) {
      writeFileSync(file, JSON.stringify(changed));
      const reading =
        format === 'TrustPolicy'
          ? loadPolicy({ paths: [file] })
          : importPolicy(format as ImportFormat, [file]);
      const problem = await reading.then(
        () => undefined,
        (error: unknown) => (isPortcullisError(error) ? undefined : error),
      );
      assert.equal(problem, undefined, JSON.stringify(changed));
    }
  });
