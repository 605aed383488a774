import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { commandFile, portcullis } from '../test/fixtures/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-attest-test-'));
after(() => rmSync(folder, { recursive: true }));
const environment = { ...process.env, PORTCULLIS_PASSPHRASE: '' };
before(async () => {
  const key = await portcullis(['sign', '--generate-key', join(folder, 'cosign')], environment);
  assert.equal(key.code, 0, key.output);
});

/** Attests with a registry that is down: its error is reached only with a predicate. */
function attest(
  type: string,
  input: string | Buffer,
): { readonly status: number | null; readonly stderr: string } {
  const words = ['attest', '127.0.0.1:1/app:1', '--type', type, '--predicate', '-'];
  return spawnSync(process.execPath, [commandFile, ...words, '--key', join(folder, 'cosign.key')], {
    cwd: folder,
    input,
    encoding: 'utf8',
    env: environment,
  });
}

test('attest reads the predicate from standard input with -, as cosign does', () => {
  const { status, stderr } = attest('https://example.com/tested/v1', '{"passed":1}');
  assert.match(stderr, /^portcullis: resolve .*\[DISTRIBUTION_UNREACHABLE\]/u);
  assert.equal(status, 3);
  assert.match(attest('https://example.com/tested/v1', '{"passed":').stderr, /TRUST_PREDICATE_UNREADABLE/u);
});

test('the help of attest names the short names of types', async () => {
  const { stdout } = await portcullis(['attest', '--help'], environment);
  assert.match(
    stdout.replaceAll(/\s+/gu, ' '),
    /--type <type> type of the predicate: a URI, or one of slsaprovenance, .*, cyclonedx, .*, vsa, entitlements, /u,
  );
});

test('attest refuses certificates, which no form of an attestation holds beside a key', async () => {
  const chain = ['--certificate-chain', join(folder, 'cosign.pub')];
  const words = ['attest', '127.0.0.1:1/app:1', '--type', 'custom', '--predicate', '-', ...chain];
  const { code, output } = await portcullis([...words, '--key', join(folder, 'cosign.key')], environment);
  assert.match(output, /unknown option '--certificate-chain'/u);
  assert.equal(code, 2);
});

test('attest signs no empty predicate: the program before the pipe has failed', () => {
  for (const type of ['custom', 'spdx', 'https://example.com/tested/v1']) {
    const { status, stderr } = attest(type, '');
    assert.match(stderr, /read predicate -: it is empty; .*\[TRUST_PREDICATE_UNREADABLE\]/u);
    assert.equal(status, 2);
  }
});

const incomplete: readonly (readonly [type: string, predicate: string, why: RegExp])[] = [
  ['slsaprovenance1', '{}', /it is not SLSA provenance v1: buildDefinition\.buildType is missing/u],
  ['https://slsa.dev/provenance/v1', '[]', /buildDefinition\.buildType is missing/u],
  ['slsaprovenance', '{"builder":{"id":1},"buildType":"x"}', /builder\.id has no valid value/u],
  ['vsa', '{"verifier":{"id":"v"}}', /it is not a verification summary: timeVerified is missing/u],
  ['cyclonedx', '{"spdxVersion":"SPDX-2.3"}', /it is not a CycloneDX document: bomFormat is missing/u],
  ['spdxjson', '{"sbom":{"spdxVersion":"SPDX-2.3"}}', /it is not an SPDX document: spdxVersion is missing/u],
  ['spdx', 'no SPDX', /it is not JSON/u],
  ['openvex', '{"@context":"https://openvex.dev/ns"}', /statements is missing/u],
  ['vuln', '{"invocation":{},"scanner":{}}', /metadata is missing/u],
];
for (const [type, predicate, why] of incomplete)
  test(`attest signs no ${predicate} as ${type}`, () => {
    const { status, stderr } = attest(type, predicate);
    assert.match(stderr, why);
    assert.match(stderr, /\[TRUST_PREDICATE_UNREADABLE\]/u);
    assert.equal(status, 2);
  });

test('attest signs the provenance of BuildKit, which has an empty id of the builder by default', () => {
  const [builder, buildType] = [{ id: '' }, 'https://mobyproject.org/buildkit@v1'];
  const buildDefinition = { buildType, externalParameters: {} };
  for (const [type, predicate] of [
    ['slsaprovenance', { builder, buildType, materials: [] }],
    ['slsaprovenance1', { buildDefinition, runDetails: { builder } }],
  ] as const)
    assert.match(attest(type, JSON.stringify(predicate)).stderr, /\[DISTRIBUTION_UNREACHABLE\]/u);
});

test('attest signs documents of SPDX 2 and 3, as JSON and as text', () => {
  for (const [type, document] of [
    ['spdx', 'SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n'],
    ['spdxjson', '{"spdxVersion":"SPDX-2.3"}'],
    ['spdxjson', '{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}'],
  ] as const)
    assert.match(attest(type, document).stderr, /\[DISTRIBUTION_UNREACHABLE\]/u);
});

test('attest signs no bytes that are not UTF-8 as text: other characters would be signed', () => {
  for (const type of ['custom', 'spdx']) {
    const { status, stderr } = attest(type, Buffer.from('SPDXVersion: \xff', 'latin1'));
    assert.match(stderr, /read predicate -: it is not UTF-8; name a file with text/u);
    assert.equal(status, 2);
  }
});

for (const type of ['entitlements', 'https://portcullis.dev/entitlements/v1'])
  test(`attest takes a profile only from a file, because it is checked there: --type ${type}`, () => {
    const { status, stderr } = attest(type, 'kind: EntitlementProfile');
    assert.match(stderr, /--type entitlements needs a file/u);
    assert.equal(status, 2);
  });

for (const [what, document, why] of [
  [
    'of another kind',
    { kind: 'TrustPolicy', default: 'deny', rules: [] },
    /it is not a document of kind EntitlementProfile/u,
  ],
  [
    'whose parameter has no value',
    {
      kind: 'EntitlementProfile',
      metadata: { name: 'web' },
      parameters: { data: { type: 'path' } },
      files: { write: ['${data}/**'] },
    },
    /web needs a value for data/u,
  ],
] as const)
  test(`attest signs no document ${what} as entitlements: no node could run the image`, async () => {
    const file = join(folder, 'profile.json');
    writeFileSync(file, JSON.stringify({ apiVersion: 'portcullis.dev/v1alpha1', ...document }));
    const words = ['attest', '127.0.0.1:1/app:1', '--type', 'entitlements', '--predicate', file];
    const { code, output } = await portcullis([...words, '--key', join(folder, 'cosign.key')], environment);
    assert.match(output, why);
    assert.equal(code, 2);
  });

test('attest signs no exact profile as entitlements: nodes read EntitlementProfile documents only', async () => {
  const file = join(folder, 'exact.json');
  const show = [commandFile, 'entitlements', 'show', 'baseline', '--output', 'json'];
  const { stdout } = spawnSync(process.execPath, show, { encoding: 'utf8' });
  writeFileSync(file, stdout.replace('"name": "baseline"', '"name": "web"'));
  const words = ['attest', '127.0.0.1:1/app:1', '--type', 'entitlements', '--predicate', file];
  const { code, output } = await portcullis([...words, '--key', join(folder, 'cosign.key')], environment);
  assert.match(output, /it is not a document of kind EntitlementProfile/u);
  assert.equal(code, 2);
});

test('attest signs as entitlements only what a runtime can read', async () => {
  const profile = 'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: web }\n';
  const policy = 'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules: []\n';
  for (const [text, code, says] of [
    ['{"metadata":{"name":"web"},"linux":{}}', 2, /not a document of kind EntitlementProfile.*BAD_PROFILE/su],
    [policy, 2, /not a document of kind EntitlementProfile.*name a file with one/su],
    [profile, 3, /DISTRIBUTION_UNREACHABLE/u],
  ] as const) {
    writeFileSync(join(folder, 'predicate'), text);
    const words = ['--type', 'entitlements', '--predicate', join(folder, 'predicate')];
    const key = ['--key', join(folder, 'cosign.key')];
    const ended = await portcullis(['attest', '127.0.0.1:1/app:1', ...words, ...key], environment);
    assert.equal(ended.code, code, ended.output);
    assert.match(ended.output, says);
  }
});
