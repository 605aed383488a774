import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { loadPolicy } from '../policy/load.ts';
import type { Requirement } from '../requirements/types.ts';

const keys = join(import.meta.dirname, '../evidence/fixtures/keys');
const sigstore =
  '{ issuer: https://token.actions.githubusercontent.com, subject: "https://github.com/example/pay/.github/workflows/release.yml@refs/tags/*" }';

/**
 * Invalid requirements, each with all of its problems: `LINE:COLUMN path: message`, counted from the line of
 * `require`.
 */
const wrong: readonly (readonly [name: string, require: string, problems: readonly RegExp[]])[] = [
  ['no authority', '{ attestation: { type: vuln } }', [/^6:29 .*the field `by` is missing/]],
  [
    'an unknown short name',
    '{ attestation: { type: sbom, by: { cosign: { key: k.pub } } } }',
    [/^6:37 .*"sbom" is not a predicate type/],
  ],
  [
    'a word that is not an authority',
    '{ attestation: { type: vuln, by: notation } }',
    [/^6:47 .*"notation" is not a type of signer for attestations/],
  ],
  ['nobody beside it', '{ attestation: { type: vuln, by: cosign } }', [/^6:47 .*but there is none/]],
  [
    'no signer beside it, because both are in the same `any`',
    '{ any: [ { cosign: { key: k.pub } }, { attestation: { type: vuln, by: cosign } } ] }',
    [/^6:\d+ .*but there is none/],
  ],
  [
    'two beside it',
    '{ all: [ { cosign: { key: k.pub } }, { cosign: { key: l.pub } }, { attestation: { type: vuln, by: cosign } } ] }',
    [/^6:\d+ .*there are 2/],
  ],
  [
    'another kind as authority',
    '{ attestation: { type: vuln, by: { notation: {} } } }',
    [/^6:\d+ .*unknown field `notation`/],
  ],
  [
    'two authorities',
    `{ attestation: { type: vuln, by: { cosign: { key: k.pub }, sigstore: ${sigstore} } } }`,
    [/^6:\d+ .*must have at most 1 field/],
  ],
  [
    'a key file that does not exist',
    '{ attestation: { type: vuln, by: { cosign: { key: nope.pub } } } }',
    [/^6:\d+ .*nope\.pub cannot be used/],
  ],
  [
    'several invalid expressions, all at once',
    '{ attestation: { type: vuln, by: { cosign: { key: k.pub } }, cel: ["predicate.", "nope == 1 && now.foo()", "true"] } }',
    [
      /^6:91 .*cel\[0\].*a mistake at 1:\d+ of its text/,
      /^6:\d+ .*cel\[1\].*no variable `nope`/,
      /^6:\d+ .*cel\[1\].*no function `foo`/,
    ],
  ],
  [
    'an expression that is too long',
    `{ attestation: { type: vuln, by: { cosign: { key: k.pub } }, cel: "${'a'.repeat(4097)}" } }`,
    [/4096/],
  ],
  [
    'an age that a key cannot prove',
    '{ attestation: { type: vuln, by: { cosign: { key: k.pub } }, maxAge: 1d } }',
    [/^6:\d+ .*nothing proves when the key signed the attestation: maxAge can never be met/],
  ],
  [
    'a number for an expression',
    '{ attestation: { type: vuln, by: { cosign: { key: k.pub } }, cel: 1 } }',
    [/^6:\d+ .*cel/],
  ],
];

describe('attestation: in a policy', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-attestation-'));
    cpSync(join(keys, 'ecdsa-p256.pub'), join(folder, 'k.pub'));
    cpSync(join(keys, 'ecdsa-p384.pub'), join(folder, 'l.pub'));
  });
  after(() => rmSync(folder, { recursive: true }));

  async function read(require: string): Promise<Requirement | undefined> {
    const file = join(folder, 'policy.yaml');
    writeFileSync(
      file,
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules:\n  - images: ["**"]\n    require: ${require}\n`,
    );
    return (await loadPolicy({ paths: [file] })).policy.rules[0]?.require;
  }

  for (const [name, require, problems] of wrong) {
    it(`refuses ${name}, with its position`, async () => {
      const error: unknown = await read(require).catch((thrown: unknown) => thrown);
      assert.ok(isPortcullisError(error));
      assert.equal(error.code, 'TRUST_POLICY_INVALID');
      const found = (error.failure.details?.['problems'] ?? []) as readonly {
        position: { line: number; column: number };
        path: string;
        message: string;
      }[];
      const texts = found.map(
        ({ position, path, message }) => `${position.line}:${position.column} ${path}: ${message}`,
      );
      assert.equal(texts.length, problems.length, texts.join('\n'));
      for (const [index, pattern] of problems.entries()) assert.match(texts[index] ?? '', pattern);
    });
  }

  it('uses the identity of the requirement beside it, without its constraints on signatures', async () => {
    const require = await read(
      '{ all: [ { cosign: { key: k.pub, log: true, annotations: { env: prod } } }, { attestation: { type: slsaprovenance1, by: cosign, maxAge: 30d } } ] }',
    );
    assert.ok(require?.kind === 'all');
    const [, attestation] = require.of;
    assert.ok(attestation?.kind === 'attestation' && attestation.by.kind === 'cosign-key');
    assert.equal(attestation.predicateType, 'https://slsa.dev/provenance/v1');
    assert.equal(attestation.by.constraints, undefined);
    assert.deepEqual(attestation.constraints, { maxAge: 30 * 86_400 });
    assert.deepEqual(attestation.cel, []);
  });

  it('reads the example of the design', async () => {
    const cel = "predicate.buildDefinition.externalParameters.ref.startsWith('refs/tags/')";
    const require = await read(
      `{ all: [ { sigstore: ${sigstore} }, { attestation: { type: https://slsa.dev/provenance/v1, by: sigstore, cel: "${cel}" } } ] }`,
    );
    assert.ok(require?.kind === 'all');
    const [identity, attestation] = require.of;
    assert.ok(
      attestation?.kind === 'attestation' &&
        attestation.by.kind === 'sigstore' &&
        identity?.kind === 'sigstore',
    );
    assert.deepEqual(attestation.by.identity, identity.identity);
    assert.deepEqual(attestation.cel, [cel]);
  });
});
