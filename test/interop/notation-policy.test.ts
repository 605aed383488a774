import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient, mediaTypes } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { exportNotation } from '../../trust/import/notation/export.ts';
import { importNotation } from '../../trust/import/notation/import.ts';
import { explainVerdict, loadPolicy, openRegistries, verifyImage } from '../../trust/index.ts';
import type { Verdict } from '../../trust/index.ts';
import { policyKey } from '../../trust/keys/public-key.ts';
import {
  chainOf,
  rootExtensions,
  signerExtensions,
  stampExtensions,
} from '../../trust/notation/fixtures/authority.ts';
import type { Issued } from '../../trust/notation/fixtures/authority.ts';
import { makeNotationSignature } from '../../trust/notation/sign.ts';
import { keySigner } from '../../trust/signers/signer.ts';
import {
  attachEnvelope,
  openNotation,
  serveFiles,
  serveTimestamps,
  startEither,
} from '../fixtures/notation.ts';
import type { NotationGround, Served } from '../fixtures/notation.ts';
import { findRegistry } from '../fixtures/registry.ts';
import { findTool } from '../fixtures/tools.ts';

const hour = 3600 * 1000;
const amd64 = { os: 'linux', architecture: 'amd64' } as const;
const builder = 'x509.subject: C=US, ST=WA, O=example.com, CN=builder';
const company = 'x509.subject: CN=builder, O=example.com, S=WA, C=US';

interface Verification {
  readonly level: string;
  readonly override?: Readonly<Record<string, string>>;
  readonly verifyTimestamp?: string;
}

const statement = (verification: Verification, more: object = {}): Record<string, unknown> => ({
  name: 'one',
  registryScopes: ['*'],
  signatureVerification: verification,
  trustStores: ['ca:example'],
  trustedIdentities: ['*'],
  ...more,
});
const skipped = (name: string, ...registryScopes: readonly string[]): object => ({
  name,
  registryScopes,
  signatureVerification: { level: 'skip' },
});

const skip = findTool('notation').skip || (findRegistry() === undefined ? 'no docker-registry' : false);

// notation with its own policy gives the expected decisions for the imported policy.
describe("notation's trust policies, imported, decide like notation", { skip }, () => {
  let ground: NotationGround;
  let registry: { readonly host: string; close(): Promise<void> };
  let lists: Served;
  let stamps: Served;
  const files = new Map<string, Uint8Array>();
  const client = createRegistryClient();
  const digests = new Map<string, string>();

  before(async () => {
    ground = openNotation();
    registry = await startEither(false);
    lists = await serveFiles(files);
    const { authority } = ground;
    const root = authority.issue('root', { extensions: rootExtensions });
    const foreignRoot = authority.issue('foreign-root', { extensions: rootExtensions });
    const stampRoot = authority.issue('stamp-root', { extensions: rootExtensions });
    const stamper = authority.issue('stamper', { extensions: stampExtensions, by: stampRoot });
    stamps = await serveTimestamps(authority, stamper, stampRoot);
    const subject = '/C=US/ST=WA/O=example.com/CN=builder';
    const listed = [...signerExtensions, `crlDistributionPoints=URI:${lists.url}/root.crl`];
    const issue = (name: string, more: object = {}): Issued =>
      authority.issue(name, { subject, extensions: signerExtensions, by: root, ...more });
    const past = { from: new Date(Date.now() - 48 * hour), to: new Date(Date.now() - hour) };
    const leaves = {
      good: issue('good'),
      other: issue('other', { subject: '/C=US/ST=WA/O=example.com/CN=other' }),
      odd: issue('odd', { subject: '/C=US/O=example.com/CN=builder/emailAddress=a@b.c' }),
      foreign: issue('foreign', { by: foreignRoot }),
      revoked: issue('revoked', { extensions: listed }),
      unreachable: issue('unreachable', {
        extensions: [...signerExtensions, 'authorityInfoAccess=OCSP;URI:http://127.0.0.1:1/'],
      }),
      old: issue('old', past),
    };
    authority.revoke(root, leaves.revoked);
    files.set('/root.crl', authority.list(root));
    ground.trust('ca', 'example', root);
    ground.trust('tsa', 'stamps', stampRoot);
    ground.trust('signingAuthority', 'example', root);

    const signed = async (
      name: string,
      leaf: Issued,
      more: { readonly now?: Date; readonly expiry?: Date; readonly stamped?: boolean } = {},
    ): Promise<void> => {
      const [repository] = client.repositories({ registry: registry.host, repository: `in/${name}` });
      assert.ok(repository);
      const config = {
        ...(await repository.pushBlob(Buffer.from('{}'))),
        mediaType: 'application/vnd.oci.image.config.v1+json',
      };
      const bytes = JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config,
        layers: [],
        annotations: { name },
      });
      const { digest } = await repository.pushManifest(Buffer.from(bytes), mediaTypes.ociManifest, {
        tag: '1',
      });
      digests.set(name, digest);
      if (name === 'unsigned') return;
      const key = createPrivateKey(readFileSync(leaf.key));
      const half = policyKey(leaf.name, createPublicKey(key));
      assert.ok('spki' in half);
      const certificates = chainOf(leaf, leaf === leaves.foreign ? foreignRoot : root);
      const signer = keySigner(
        { public: half, private: key },
        { certificates, witnesses: { logs: [], timestamps: more.stamped === true ? [stamps.url] : [] } },
      );
      const format = digests.size % 2 === 0 ? 'jws' : 'cose';
      const size = Buffer.byteLength(bytes);
      const made = await makeNotationSignature({
        format,
        target: { mediaType: mediaTypes.ociManifest, digest, size, annotations: {} },
        signer,
        now: more.now ?? new Date(),
        ...(more.expiry === undefined ? {} : { expiry: more.expiry }),
      });
      await attachEnvelope(repository, digest, { mediaType: made.mediaType, bytes: made.envelope });
    };
    for (const [name, leaf] of Object.entries(leaves)) if (name !== 'old') await signed(name, leaf);
    await signed('unsigned', leaves.good);
    await signed('expired', leaves.good, {
      now: new Date(Date.now() - 2 * hour),
      expiry: new Date(Date.now() - hour),
    });
    await signed('outdated', leaves.old, { now: new Date(Date.now() - 3 * hour) });
    await signed('stamped', leaves.good, { stamped: true });
    // Time-stamped after its certificate expired: the time stamp proves that the signature was too late.
    await signed('stamped-late', leaves.old, { now: new Date(Date.now() - 3 * hour), stamped: true });
  });
  after(async () => {
    await client.close();
    await Promise.all([lists.close(), stamps.close(), registry.close()]);
    ground.close();
  });

  const place = (name: string): string => `${registry.host}/in/${name}`;

  /** Returns our verdicts with notation's policy as rules. */
  const ours = async (document: unknown): Promise<(name: string) => Promise<Verdict>> => {
    const { rules } = importNotation(JSON.stringify(document), {
      file: 'trustpolicy.json',
      truststoreFolder: 'config/notation/truststore',
    });
    const file = join(ground.folder, 'policy.json');
    writeFileSync(
      file,
      JSON.stringify({
        apiVersion: 'portcullis.dev/v1alpha1',
        kind: 'TrustPolicy',
        rules: rules.map(({ rule }) => rule),
      }),
    );
    const { policy } = await loadPolicy({ paths: [file] });
    return async (name) => {
      const access = await openRegistries({ mirrors: [], insecureHosts: [] });
      try {
        const input = {
          reference: `${place(name)}:1`,
          namespace: '',
          policy,
          registry: access,
          platform: amd64,
          now: new Date(),
        };
        return (await verifyImage(input)).verdict;
      } finally {
        await access.close();
      }
    };
  };

  const compare = async (document: unknown, names: readonly string[]): Promise<void> => {
    ground.writePolicy(document);
    const decide = await ours(document);
    const results = await Promise.all(
      names.map(async (name) => {
        const judged = await ground.notation(
          'verify',
          '--insecure-registry',
          `${place(name)}@${digests.get(name) ?? ''}`,
        );
        return { name, judged, verdict: await decide(name) };
      }),
    );
    for (const { name, judged, verdict } of results)
      assert.equal(
        verdict.outcome === 'admit',
        judged.code === 0,
        `${name}: ${judged.output}${explainVerdict(verdict)}`,
      );
  };

  const all = [
    'good',
    'other',
    'odd',
    'foreign',
    'revoked',
    'unreachable',
    'unsigned',
    'expired',
    'outdated',
    'stamped',
    'stamped-late',
  ];
  const few = ['good', 'expired', 'outdated', 'stamped', 'stamped-late'];
  const tsa = { trustStores: ['ca:example', 'tsa:stamps'] };
  const cases: readonly (readonly [string, unknown, readonly string[]])[] = [
    ['strict', statement({ level: 'strict' }), all],
    ['permissive', statement({ level: 'permissive' }), all],
    ['audit', statement({ level: 'audit' }), all],
    [
      'strict, one identity',
      statement({ level: 'strict' }, { trustedIdentities: [builder] }),
      ['good', 'other', 'odd', 'foreign'],
    ],
    [
      'permissive, one identity in another spelling',
      statement({ level: 'permissive' }, { trustedIdentities: [company] }),
      ['good', 'other', 'odd'],
    ],
    [
      'audit, one identity',
      statement({ level: 'audit' }, { trustedIdentities: [builder] }),
      ['good', 'other', 'odd', 'foreign', 'unsigned'],
    ],
    ['strict, expiry logged', statement({ level: 'strict', override: { expiry: 'log' } }), few],
    [
      'strict, revocation skipped',
      statement({ level: 'strict', override: { revocation: 'skip' } }),
      ['good', 'revoked', 'unreachable'],
    ],
    [
      'permissive, all enforced',
      statement({
        level: 'permissive',
        override: { revocation: 'enforce', expiry: 'enforce', authenticTimestamp: 'enforce' },
      }),
      all,
    ],
    [
      'audit, authenticity enforced',
      statement({ level: 'audit', override: { authenticity: 'enforce' } }),
      ['good', 'foreign', 'revoked', 'expired'],
    ],
    ['strict, time stamps', statement({ level: 'strict' }, tsa), few],
    [
      'strict, time stamps once expired',
      statement({ level: 'strict', verifyTimestamp: 'afterCertExpiry' }, tsa),
      few,
    ],
    ['permissive, time stamps', statement({ level: 'permissive' }, tsa), few],
    [
      'strict, signing authorities only',
      statement({ level: 'strict' }, { trustStores: ['signingAuthority:example'] }),
      ['good', 'foreign'],
    ],
  ];
  for (const [name, one, names] of cases)
    it(name, () => compare({ version: '1.0', trustPolicies: [one] }, names));

  it('statements for repositories take precedence over the global one', async () => {
    const document = {
      version: '1.0',
      trustPolicies: [
        statement({ level: 'strict' }, { trustedIdentities: [builder] }),
        statement({ level: 'audit' }, { name: 'loose', registryScopes: [place('other'), place('foreign')] }),
        skipped('open', place('unsigned')),
      ],
    };
    await compare(document, all);
  });

  it('without a global statement, no statement applies to other repositories', async () => {
    await compare(
      {
        version: '1.0',
        trustPolicies: [statement({ level: 'strict' }, { registryScopes: [place('good')] })],
      },
      ['good', 'stamped', 'unsigned'],
    );
  });

  it('an export returns the imported policy', async () => {
    const document = {
      version: '1.0',
      trustPolicies: [
        statement(
          { level: 'permissive', override: { expiry: 'enforce' }, verifyTimestamp: 'afterCertExpiry' },
          { ...tsa, trustedIdentities: [builder] },
        ),
        statement({ level: 'strict' }, { name: 'two', registryScopes: [place('good')] }),
        skipped('three', place('unsigned')),
      ],
    };
    const { rules } = importNotation(JSON.stringify(document), {
      file: 'trustpolicy.json',
      truststoreFolder: 'config/notation/truststore',
    });
    const file = join(ground.folder, 'again.json');
    writeFileSync(
      file,
      JSON.stringify({
        apiVersion: 'portcullis.dev/v1alpha1',
        kind: 'TrustPolicy',
        rules: rules.map(({ rule }) => rule),
      }),
    );
    const { text, unmapped } = exportNotation((await loadPolicy({ paths: [file] })).policy);
    assert.deepEqual(unmapped, []);
    const exported = JSON.parse(text ?? '') as { trustPolicies: { name: string }[] };
    const unnamed = (list: readonly object[]): unknown => list.map((one) => ({ ...one, name: '' }));
    assert.deepEqual(unnamed(exported.trustPolicies), unnamed(document.trustPolicies));
    ground.writePolicy(exported);
    assert.equal(
      (
        await ground.notation(
          'verify',
          '--insecure-registry',
          `${place('good')}@${digests.get('good') ?? ''}`,
        )
      ).code,
      0,
    );
  });

  for (const [name, document] of [
    ['no version', { trustPolicies: [statement({ level: 'strict' })] }],
    ['another version', { version: '1.1', trustPolicies: [statement({ level: 'strict' })] }],
    ['no statements', { version: '1.0', trustPolicies: [] }],
    ['an unknown level', { version: '1.0', trustPolicies: [statement({ level: 'Strict' })] }],
    [
      'authenticity skipped',
      { version: '1.0', trustPolicies: [statement({ level: 'strict', override: { authenticity: 'skip' } })] },
    ],
    [
      'integrity overridden',
      { version: '1.0', trustPolicies: [statement({ level: 'strict', override: { integrity: 'log' } })] },
    ],
    ['skip with stores', { version: '1.0', trustPolicies: [statement({ level: 'skip' })] }],
    [
      'no identities',
      { version: '1.0', trustPolicies: [statement({ level: 'strict' }, { trustedIdentities: [] })] },
    ],
    [
      'a wildcard beside an identity',
      {
        version: '1.0',
        trustPolicies: [statement({ level: 'strict' }, { trustedIdentities: ['*', builder] })],
      },
    ],
    [
      'overlapping identities',
      {
        version: '1.0',
        trustPolicies: [
          statement(
            { level: 'strict' },
            { trustedIdentities: [builder, 'x509.subject: C=US, ST=WA, O=example.com'] },
          ),
        ],
      },
    ],
    [
      'an identity without country',
      {
        version: '1.0',
        trustPolicies: [
          statement({ level: 'strict' }, { trustedIdentities: ['x509.subject: ST=WA, O=example.com'] }),
        ],
      },
    ],
    [
      'a store without type',
      { version: '1.0', trustPolicies: [statement({ level: 'strict' }, { trustStores: ['example'] })] },
    ],
    [
      'a wildcard within a scope',
      {
        version: '1.0',
        trustPolicies: [statement({ level: 'strict' }, { registryScopes: ['example.com/*'] })],
      },
    ],
    [
      'two statements for all',
      {
        version: '1.0',
        trustPolicies: [statement({ level: 'strict' }), statement({ level: 'audit' }, { name: 'two' })],
      },
    ],
    [
      'two statements with one name',
      {
        version: '1.0',
        trustPolicies: [
          statement({ level: 'strict' }),
          statement({ level: 'audit' }, { registryScopes: ['example.com/a'] }),
        ],
      },
    ],
    [
      'another verifyTimestamp',
      { version: '1.0', trustPolicies: [statement({ level: 'strict', verifyTimestamp: 'never' })] },
    ],
  ] as const)
    it(`refuses what notation refuses: ${name}`, async () => {
      ground.writePolicy(document);
      assert.notEqual(
        (
          await ground.notation(
            'verify',
            '--insecure-registry',
            `${place('good')}@${digests.get('good') ?? ''}`,
          )
        ).code,
        0,
      );
      const text = JSON.stringify(document, null, 2);
      const thrown = ((): unknown => {
        try {
          return importNotation(text, { file: 'trustpolicy.json', truststoreFolder: 'truststore' });
        } catch (error) {
          return error;
        }
      })();
      assert.ok(isPortcullisError(thrown), JSON.stringify(thrown));
      assert.equal(thrown.code, 'TRUST_IMPORT_INVALID');
      assert.match(thrown.message, /trustpolicy\.json:\d+:\d+/);
    });
});
