import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { hostileCopies, hostileVariants } from '../evidence/fixtures/hostile-json.ts';
import { digest, item, otherDigest } from '../evidence/fixtures/sample-evidence.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { signatureAnnotation } from '../evidence/cosign-names.ts';
import { loadPolicy } from '../policy/load.ts';
import { imageStatement } from '../signing/dsse-bundle.ts';
import { makeSimpleSigningPayload } from '../signing/simple-signing-payload.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { mockIssuer, mockSubject, startMockSigstore } from './fixtures/mock-sigstore.ts';
import type { MockSigstore, SignOptions } from './fixtures/mock-sigstore.ts';

const reference = 'registry.example.com/pay/app:1';
const claims = { repository: 'team/app', ref: 'refs/tags/v1', runner_environment: 'github-hosted' };

let services: MockSigstore;
let folder: string;
before(async () => {
  services = await startMockSigstore();
  folder = await mkdtemp(join(tmpdir(), 'trust-sigstore-'));
  await writeFile(join(folder, 'root.json'), JSON.stringify(services.trustedRoot()));
});
after(async () => {
  await services.close();
  await rm(folder, { recursive: true });
});

/** Returns a policy whose only rule has this requirement, in YAML flow form. */
async function policyOf(require: string): Promise<TrustPolicy> {
  const file = join(folder, 'policy.yaml');
  await writeFile(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["registry.example.com/**"]\n    require: ${require}\n`,
  );
  return (await loadPolicy({ paths: [file] })).policy;
}

const keyless = (more = ''): string =>
  `{ sigstore: { issuer: "${mockIssuer}", subject: "${mockSubject}", root: root.json${more} } }`;

function verdictOf(policy: TrustPolicy, items: readonly EvidenceItem[], now = new Date()): Verdict {
  const dossier = sealDossier({
    reference,
    digest,
    manifestDigest: digest,
    items,
    unreachable: [],
    gatheredAt: now.toISOString(),
  });
  const platform = { os: 'linux', architecture: 'amd64' };
  return decide({ dossier, reference, namespace: '', platform, policy, now });
}

test('a root without a certificate authority is refused for an identity, which could never sign', async () => {
  const root = { ...services.trustedRoot(), certificateAuthorities: [] };
  await writeFile(join(folder, 'logs.json'), JSON.stringify(root));
  const identity = keyless().replace('root.json', 'logs.json');
  await assert.rejects(policyOf(identity), /the root logs\.json names no certificate authority/u);
});

async function bundleItem(options: SignOptions, of = digest): Promise<EvidenceItem> {
  return item(
    'sigstore-bundle',
    Buffer.from(
      JSON.stringify(await services.sign(imageStatement(of), { inToto: true, claims, ...options })),
    ),
  );
}

/**
 * Returns a signature by the same services in cosign's older form: payload, signature, and everything else in
 * annotations.
 */
async function legacyItem(options: SignOptions, drop?: string): Promise<EvidenceItem> {
  const payload = makeSimpleSigningPayload(digest, 'registry.example.com/pay/app');
  const bundle = (await services.sign(payload, { claims, ...options })) as unknown as LegacyBundleFields;
  const { certificate, tlogEntries, timestampVerificationData } = bundle.verificationMaterial;
  const [entry] = tlogEntries;
  const [stamp] = timestampVerificationData?.rfc3161Timestamps ?? [];
  const annotations: Record<string, string> = {
    [signatureAnnotation]: bundle.messageSignature.signature,
    'dev.sigstore.cosign/certificate': `-----BEGIN CERTIFICATE-----\n${certificate.rawBytes}\n-----END CERTIFICATE-----\n`,
    'dev.sigstore.cosign/chain': `-----BEGIN CERTIFICATE-----\n${rootCertificate()}\n-----END CERTIFICATE-----\n`,
    'dev.sigstore.cosign/bundle': JSON.stringify({
      SignedEntryTimestamp: entry?.inclusionPromise?.signedEntryTimestamp,
      Payload: {
        body: entry?.canonicalizedBody,
        integratedTime: Number(entry?.integratedTime),
        logIndex: Number(entry?.logIndex),
        logID: Buffer.from(entry?.logId.keyId ?? '', 'base64').toString('hex'),
      },
    }),
    ...(stamp === undefined
      ? {}
      : {
          'dev.sigstore.cosign/rfc3161timestamp': JSON.stringify({
            SignedRFC3161Timestamp: stamp.signedTimestamp,
          }),
        }),
  };
  if (drop !== undefined) Reflect.deleteProperty(annotations, drop);
  return item('cosign-simple-signing', payload, { annotations });
}

interface LegacyBundleFields {
  readonly messageSignature: { readonly signature: string };
  readonly verificationMaterial: {
    readonly certificate: { readonly rawBytes: string };
    readonly tlogEntries: readonly {
      readonly logIndex: string;
      readonly logId: { readonly keyId: string };
      readonly integratedTime: string;
      readonly canonicalizedBody: string;
      readonly inclusionPromise?: { readonly signedEntryTimestamp: string };
    }[];
    readonly timestampVerificationData?: {
      readonly rfc3161Timestamps: readonly { readonly signedTimestamp: string }[];
    };
  };
}

function rootCertificate(): string {
  const [authority] = services.trustedRoot()['certificateAuthorities'] as {
    certChain: { certificates: { rawBytes: string }[] };
  }[];
  return authority?.certChain.certificates[0]?.rawBytes ?? '';
}

const forms: readonly (readonly [string, () => Promise<EvidenceItem>])[] = [
  ['a bundle with Rekor v1', () => bundleItem({ rekor: 1 })],
  ['a bundle with Rekor v2', () => bundleItem({ rekor: 2 })],
  ["cosign's older form", () => legacyItem({ rekor: 1 })],
  ["cosign's older form with a time stamp", () => legacyItem({ rekor: 1, timeStamp: true })],
];

/** Each requirement, whether the signatures above satisfy it, and the text of the reason. */
const demands: readonly (readonly [demand: string, admitted: boolean, says: RegExp])[] = [
  [keyless(), true, /names the image's manifest sha256:a/],
  [
    keyless().replace(mockSubject, 'https://example.com/team/app/.github/workflows/release.yml@refs/tags/*'),
    true,
    /1 signature was found, and it counts/,
  ],
  [
    keyless().replace(mockSubject, 'https://example.com/*/app/.github/workflows/*@refs/tags/v1'),
    true,
    /counts/,
  ],
  [keyless().replace(mockSubject, 'https://example.com/**@refs/tags/v1'), true, /counts/],
  [
    keyless().replace(mockSubject, 'https://example.com/team/app'),
    false,
    /it was made by https:\/\/example\.com\/team.*, not by/,
  ],
  [keyless().replace(mockSubject, '*/release.yml@refs/tags/v1'), false, /it was made by/],
  [
    keyless().replace(mockIssuer, 'https://other.example'),
    false,
    /an identity of https:\/\/issuer\.example, not of https:\/\/other\.example/,
  ],
  [
    keyless(
      ', claims: { sourceRepositoryRef: "refs/tags/*", runnerEnvironment: github-hosted, githubWorkflowRepository: team/app }',
    ),
    true,
    /counts/,
  ],
  [
    keyless(', claims: { sourceRepositoryRef: refs/heads/main }'),
    false,
    /the claim sourceRepositoryRef of its certificate is refs\/tags\/v1/,
  ],
  [keyless(', claims: { buildTrigger: push }'), false, /no claim buildTrigger/],
  [keyless(', log: 2'), false, /proofs of 1 of the 2 transparency logs/],
  [keyless(', maxAge: 1h'), true, /counts/],
  [keyless(', notBefore: 2099-01-01'), false, /2099/],
  [
    keyless().replace('root: root.json', 'root: public-good'),
    false,
    /the log that it names is not in the trusted root|no authority of the trusted root/,
  ],
];

for (const [name, make] of forms) {
  test(`${name} satisfies only the requirements that it proves`, async () => {
    const evidence = [await make()];
    for (const [demand, admitted, says] of demands) {
      const verdict = verdictOf(await policyOf(demand), evidence);
      assert.equal(verdict.outcome, admitted ? 'admit' : 'deny', `${demand}\n${explainVerdict(verdict)}`);
      assert.match(explainVerdict(verdict), says);
    }
  });
}

test('a signature of another digest, a changed payload, and a damaged annotation are refused', async () => {
  const policy = await policyOf(keyless());
  const legacy = await legacyItem({ rekor: 1 });
  const changed = makeSimpleSigningPayload(otherDigest, 'registry.example.com/pay/app');
  for (const [evidence, says] of [
    [await bundleItem({ rekor: 2 }, otherDigest), /signature of another digest/],
    [
      { ...item('cosign-simple-signing', changed), annotations: legacy.annotations },
      /does not match the signed content/,
    ],
    [await legacyItem({ rekor: 1 }, 'dev.sigstore.cosign/bundle'), /no proof of a transparency log/],
    [await legacyItem({ rekor: 1 }, 'dev.sigstore.cosign/certificate'), /certificate/],
    [
      { ...legacy, annotations: { ...legacy.annotations, 'dev.sigstore.cosign/bundle': '{' } },
      /it is not JSON/,
    ],
    [
      { ...legacy, annotations: { ...legacy.annotations, 'dev.sigstore.cosign/bundle': '{"Payload":{}}' } },
      /bundle is malformed/,
    ],
  ] as const) {
    const verdict = verdictOf(policy, [evidence]);
    assert.equal(verdict.outcome, 'deny', explainVerdict(verdict));
    assert.match(explainVerdict(verdict), says);
  }
});

test('a threshold of identities counts each signer once, and a verdict replays from its texts', async () => {
  const policy = await policyOf(
    `{ threshold: { count: 2, of: [${keyless()}, ${keyless(', timestamp: true')}] } }`,
  );
  const evidence = [await bundleItem({ rekor: 2 })];
  const verdict = verdictOf(policy, evidence);
  assert.equal(verdict.outcome, 'deny', explainVerdict(verdict));
  const now = new Date(verdict.decidedAt);
  const again = verdictOf(
    JSON.parse(JSON.stringify(policy)) as TrustPolicy,
    JSON.parse(JSON.stringify(evidence)) as EvidenceItem[],
    now,
  );
  assert.deepEqual(again, verdict);
});

test('the revision changes with the bytes of the trusted root', async () => {
  const first = (await policyOf(keyless())).revision;
  await writeFile(join(folder, 'root.json'), JSON.stringify(services.trustedRoot(), null, 1));
  const second = (await policyOf(keyless())).revision;
  await writeFile(join(folder, 'root.json'), JSON.stringify(services.trustedRoot()));
  assert.notEqual(first, second);
  assert.equal((await policyOf(keyless())).revision, first);
});

test('a signature by an identity counts beside signatures with hostile values', async () => {
  const policy = await policyOf(keyless());
  const now = new Date(Date.now() + 1000);
  const legacy = await legacyItem({ rekor: 1, timeStamp: true });
  const others = [
    ...hostileCopies(await bundleItem({ rekor: 1, timeStamp: true })),
    ...hostileCopies(await bundleItem({ rekor: 2 })),
    ...hostileCopies(legacy),
    ...['dev.sigstore.cosign/bundle', 'dev.sigstore.cosign/rfc3161timestamp'].flatMap((name) =>
      [...hostileVariants(JSON.parse(legacy.annotations[name] ?? ''))].map((changed) => ({
        ...legacy,
        annotations: { ...legacy.annotations, [name]: JSON.stringify(changed) },
      })),
    ),
  ];
  assert.ok(others.length > 200);
  for (const other of others) {
    const verdict = verdictOf(policy, [other, legacy], now);
    assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
  }
});
