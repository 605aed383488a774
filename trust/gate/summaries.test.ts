import assert from 'node:assert/strict';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { readStatement } from '../attestation/statement.ts';
import { newKey } from '../evidence/fixtures/sample-evidence.ts';
import { decodeBase64 } from '../json/strict-json.ts';
import { writePem } from '../../base/pem/index.ts';
import { loadPolicy } from '../policy/load.ts';
import { openRegistries } from '../registries/registry-access.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { keySigner } from '../signers/signer.ts';
import { attestReference } from '../signing/attest-image.ts';
import { signReference } from '../signing/sign-reference.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { admitImages } from './admit.ts';
import { signSummaries } from './summaries.ts';
import type { AdmitInput } from './admit.ts';
import type { GateResult } from './types.ts';

const skip = findRegistry() === undefined ? 'no docker-registry' : false;
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const indexType = 'application/vnd.oci.image.index.v1+json';
const verifier = 'https://ci.example.com/gate';
const builder = 'https://ci.example.com/builder';
const build = newKey('build.pub');
const gate = newKey('gate.pub');
const platforms = ['amd64', 'arm64'].map((architecture) => ({ os: 'linux', architecture }));
let registry: TestRegistry;
let access: RegistryAccess;
let folder = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gate-summaries-'));
  if (skip !== false) return;
  registry = await startRegistry();
  access = await openRegistries({ mirrors: [], insecureHosts: [], environment: {} });
  for (const key of [build, gate])
    await writeFile(
      join(folder, key.public.name),
      writePem('PUBLIC KEY', Buffer.from(key.public.spki, 'base64')),
    );
});
after(async () => {
  if (skip === false) {
    await access.close();
    await registry.close();
  }
  await rm(folder, { recursive: true });
});

/** Pushes an image for two platforms, and signs its index. */
async function publish(
  name: string,
  tag = '1',
  author = name,
): Promise<{ readonly reference: string; readonly digest: string }> {
  const [repository] = await access.repositories({ registry: registry.host, repository: name });
  assert.ok(repository);
  const manifests = [];
  for (const platform of platforms) {
    const config = await repository.pushBlob(Buffer.from(JSON.stringify({ ...platform, author })));
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: manifestType,
        config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
        layers: [],
      }),
    );
    const { digest } = await repository.pushManifest(bytes, manifestType, {});
    manifests.push({ mediaType: manifestType, digest, size: bytes.length, platform });
  }
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }));
  const { digest } = await repository.pushManifest(index, indexType, { tag });
  const reference = `${registry.host}/${name}:${tag}`;
  await signReference({
    reference,
    key: build,
    format: 'bundle',
    recursive: false,
    registry: access,
    now: new Date(),
  });
  return { reference, digest };
}

async function policyOfText(rules: string): Promise<AdmitInput['policy']> {
  const file = join(folder, `policy-${rules.length}.yaml`);
  await writeFile(file, `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n${rules}`);
  return (await loadPolicy({ paths: [file] })).policy;
}

const byBuild = '  - images: ["**"]\n    require: { cosign: { key: build.pub } }\n';
const bySummary = (more = ''): string =>
  `  - images: ["**"]\n    require: { vsa: { verifier: "${verifier}", by: { cosign: { key: gate.pub } }, maxAge: 1h${more} } }\n`;

async function admit(
  references: readonly string[],
  rules: string,
  more: Partial<AdmitInput> = {},
): Promise<GateResult> {
  const questions = references.map((reference) => ({ reference, namespace: 'shop', places: [] }));
  const policy = await policyOfText(rules);
  return admitImages({ questions, policy, registry: access, platforms, now: new Date(), ...more });
}

function summarise(
  result: GateResult,
  more: Partial<Parameters<typeof signSummaries>[1]> = {},
): Promise<GateResult> {
  return signSummaries(result, {
    ...{ signer: keySigner(gate), verifier, version: '1.2.3', push: true, registry: access },
    ...{ allPlatforms: false, now: new Date(), ...more },
  });
}

async function predicateIn(file: string): Promise<Record<string, unknown>> {
  const bundle = JSON.parse(await readFile(file, 'utf8')) as { dsseEnvelope: { payload: string } };
  return readStatement(decodeBase64(bundle.dsseEnvelope.payload) ?? Buffer.alloc(0)).value;
}

const outcomes = (result: GateResult): readonly string[] =>
  result.images.map(({ decision, code }) => `${decision} ${code}`);

test(
  'a node that requires only a summary admits what the gate admitted, and nothing else',
  { skip },
  async () => {
    const good = await publish('shop/good');
    const bad = await publish('shop/bad');
    const before = await admit([good.reference], bySummary());
    assert.deepEqual(outcomes(before), Array(2).fill('denied TRUST_REQUIREMENT_UNMET'));

    const decided = await admit([good.reference], byBuild);
    const signed = await summarise(decided, { folder: join(folder, 'vsa') });
    assert.deepEqual(
      signed.images.map(({ summary }) => summary?.status),
      ['signed', 'signed'],
    );
    const revision = signed.policyRevision.replace('sha256:', '');
    const admitted = await admit([good.reference], bySummary(`, policy: "${revision}"`));
    assert.deepEqual(outcomes(admitted), Array(2).fill('admitted TRUST_ADMITTED'), JSON.stringify(admitted));
    const [first] = admitted.images;
    assert.ok(first?.verdict);
    assert.match(
      explainVerdict(first.verdict),
      /names the platform's manifest .*"https:\/\/ci\.example\.com\/gate" verified it/,
    );
    assert.equal(first.verdict.validUntil, new Date(Date.parse(signed.decidedAt) + 3_600_000).toISOString());

    // Each tampering is refused with its own reason.
    const refused = async (
      reference: string,
      rules: string,
      code: string,
      now = new Date(),
    ): Promise<void> => {
      const result = await admit([reference], rules, { now });
      assert.deepEqual(
        outcomes(result),
        Array(2).fill(`denied ${code}`),
        JSON.stringify(result.images[0]?.verdict?.reasons),
      );
    };
    await refused(bad.reference, bySummary(), 'TRUST_REQUIREMENT_UNMET');
    await refused(good.reference, bySummary(`, policy: "${'0'.repeat(64)}"`), 'TRUST_VSA_OTHER_POLICY');
    await refused(good.reference, bySummary().replace(verifier, `${verifier}-2`), 'TRUST_VSA_OTHER_VERIFIER');
    await refused(good.reference, bySummary(), 'TRUST_VSA_TOO_OLD', new Date(Date.now() + 3_600_001));
    await refused(good.reference, bySummary(', levels: [SLSA_BUILD_LEVEL_1]'), 'TRUST_VSA_LEVEL');

    // The tag moves between the gate and the node: the summary binds the digest.
    const swapped = await publish('shop/good', '1', 'somebody else');
    assert.notEqual(swapped.digest, good.digest);
    await refused(good.reference, bySummary(), 'TRUST_REQUIREMENT_UNMET');

    // The image with its summary is copied to another repository: the summary is about the first one.
    const predicate = (await predicateIn((signed.images[0]?.summary as { file: string }).file))['predicate'];
    await publish('other/good', '1', 'shop/good');
    const copied = `${registry.host}/other/good`;
    for (const { manifestDigest } of decided.images)
      await attestReference({
        ...{ reference: `${copied}@${manifestDigest}`, key: gate, type: 'vsa', predicate, format: 'bundle' },
        ...{ registry: access, now: new Date() },
      });
    await refused(`${copied}:1`, bySummary(), 'TRUST_VSA_OTHER_RESOURCE');
  },
);

test('a summary says what was verified, by which policy, from which evidence', { skip }, async () => {
  const { reference, digest } = await publish('shop/whole');
  const predicate = { buildDefinition: {}, runDetails: { builder: { id: builder } } };
  await attestReference({
    ...{
      reference,
      key: build,
      type: 'slsaprovenance1',
      predicate,
      format: 'bundle',
      registry: access,
      now: new Date(),
    },
  });
  const rules =
    '  - images: ["**"]\n    require:\n      all: [ { cosign: { key: build.pub } }, { attestation: { type: slsaprovenance1, by: cosign } } ]\n';
  const files = join(folder, 'whole');
  for (const [builders, level] of [
    [new Map([[builder, 3]]), 'SLSA_BUILD_LEVEL_3'],
    [new Map([[`${builder}/other`, 3]]), 'SLSA_BUILD_LEVEL_UNEVALUATED'],
    [new Map(), 'SLSA_BUILD_LEVEL_UNEVALUATED'],
  ] as const) {
    const decided = await admit([reference], rules, { platforms: 'all', builders });
    const made = await summarise(decided, { push: false, folder: files, allPlatforms: true });
    const [{ summary } = { summary: undefined }] = made.images;
    assert.ok(summary?.status === 'signed');
    const manifests = decided.images.map(({ manifestDigest }) => manifestDigest);
    assert.deepEqual(summary.subjects, [digest, ...manifests]);
    const statement = await predicateIn(summary.file ?? '');
    assert.deepEqual((await readdir(files)).length, 1);
    const said = statement['predicate'] as Record<string, unknown>;
    assert.deepEqual(said, {
      verifier: { id: verifier, version: { portcullis: '1.2.3' } },
      timeVerified: decided.decidedAt,
      resourceUri: `oci://${registry.host}/shop/whole@${digest}`,
      policy: {
        uri: `urn:portcullis:policy:${decided.policyRevision.replace('sha256:', '')}`,
        digest: { sha256: decided.policyRevision.replace('sha256:', '') },
      },
      inputAttestations: said['inputAttestations'],
      verificationResult: 'PASSED',
      verifiedLevels: [level],
      slsaVersion: '1.2',
    });
    assert.equal((said['inputAttestations'] as unknown[]).length, 2);
  }
});

test(
  'an image gets no summary if nothing was proven about it, or if it is refused in another namespace',
  { skip },
  async () => {
    const { reference } = await publish('shop/doubtful');
    const why = async (rules: string, namespaces: readonly string[]): Promise<readonly unknown[]> => {
      const questions = namespaces.map((namespace) => ({ reference, namespace, places: [] }));
      const decided = await admit([], rules, { questions, platforms: platforms.slice(0, 1) });
      const made = await summarise(decided);
      return made.images.map(({ summary }) =>
        summary?.status === 'not-signed' ? summary.why : summary?.status,
      );
    };
    const unproven = 'the policy admits the image without a proof';
    assert.deepEqual(await why('  - images: ["**"]\n    allow: unverified\n', ['a']), [unproven]);
    assert.deepEqual(
      await why('  - images: ["**"]\n    mode: report\n    require: { cosign: { key: gate.pub } }\n', ['a']),
      [unproven],
    );
    assert.deepEqual(
      await why(`${byBuild}  - images: ["**"]\n    namespaces: [b]\n    deny: not here\n`, ['a', 'b']),
      [
        'in this run, the policy does not admit the image in another namespace, for another platform or by another name',
        'the image is not admitted',
      ],
    );
    assert.deepEqual(await why(byBuild, ['a', 'b']), ['signed', 'signed']);
  },
);

test('a manifest gets no summary if the run refuses it under its own digest', { skip }, async () => {
  const { reference } = await publish('shop/beside');
  const [image] = (await admit([reference], byBuild, { platforms: platforms.slice(0, 1) })).images;
  const pinned = `${registry.host}/shop/beside@${image?.manifestDigest ?? ''}`;
  const rules = `${byBuild}  - images: ["**"]\n    namespaces: [other]\n    deny: not here\n`;
  for (const namespace of ['other', 'shop']) {
    const questions = [
      { reference, namespace: 'shop', places: [] },
      { reference: pinned, namespace, places: [] },
    ];
    const decided = await admit([], rules, { questions, platforms: platforms.slice(0, 1) });
    assert.deepEqual(
      decided.images.map(({ decision }) => decision),
      ['admitted', 'denied'],
    );
    const made = await summarise(decided, { push: false, folder: join(folder, 'beside') });
    assert.deepEqual(
      made.images.map(({ summary }) => summary?.status),
      ['not-signed', 'not-signed'],
    );
  }
});

test('an index gets no summary if one of its entries names no platform', { skip }, async () => {
  const signed = await publish('shop/partial');
  const other = await publish('shop/partial', '2', 'other');
  const [repository] = await access.repositories({ registry: registry.host, repository: 'shop/partial' });
  assert.ok(repository);
  const { bytes } = await repository.manifest(signed.digest);
  const { manifests, ...rest } = JSON.parse(Buffer.from(bytes).toString()) as { manifests: object[] };
  const entry = { mediaType: indexType, digest: other.digest, size: bytes.length };
  const index = Buffer.from(JSON.stringify({ ...rest, manifests: [...manifests, entry] }));
  const { digest } = await repository.pushManifest(index, indexType, { tag: '3' });
  const reference = `${registry.host}/shop/partial:3`;
  await signReference({
    ...{ reference, key: build, format: 'bundle', recursive: false, registry: access, now: new Date() },
  });
  const decided = await admit([reference], byBuild, { platforms: 'all' });
  assert.equal(decided.counts.admitted, 3);
  const made = await summarise(decided, { allPlatforms: true });
  for (const { summary, manifestDigest } of made.images)
    assert.deepEqual(summary?.status === 'signed' ? summary.subjects : summary, [manifestDigest]);
  assert.ok(made.images.every((image) => image.digest === digest));
});

test('a summary that cannot be pushed is reported, and the decision stands', { skip }, async () => {
  const { reference } = await publish('shop/no-push');
  const decided = await admit([reference], byBuild, { platforms: platforms.slice(0, 1) });
  const broken: RegistryAccess = { ...access, repositories: () => Promise.reject(new Error('no network')) };
  const made = await summarise(decided, { registry: broken });
  assert.deepEqual(
    made.images.map(({ decision, summary }) => [decision, summary?.status]),
    [['admitted', 'failed']],
  );
});
