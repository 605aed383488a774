import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { constraintProperties } from '../requirements/constraints.ts';
import { reasonCodes } from './reason-codes.ts';
import { trustPolicySchema } from './schema.ts';
import { policyTestSchema } from './testing/policy-test-schema.ts';
import { testPolicy } from './testing/policy-tests.ts';

const trust = join(import.meta.dirname, '..');
const docs = join(trust, '../docs');
const text = readFileSync(join(docs, 'policy.md'), 'utf8');
const again = 'run: sh packaging/node test/house/policy-reference.ts';

test('the published schemas are those that policies are checked with', () => {
  for (const [name, schema] of [
    ['trust-policy.json', trustPolicySchema],
    ['policy-test.json', policyTestSchema],
  ] as const)
    assert.deepEqual(
      JSON.parse(readFileSync(join(docs, 'schemas', name), 'utf8')),
      JSON.parse(JSON.stringify(schema)),
      again,
    );
});

test('docs/policy.md lists every key of a document, a rule, a requirement and a constraint', () => {
  const { properties, $defs } = trustPolicySchema;
  const keys = [
    properties,
    $defs.rule.properties,
    $defs.requirement.properties,
    constraintProperties,
  ].flatMap(Object.keys);
  for (const key of keys) assert.ok(text.includes(`\`${key}`), key);
});

test('docs/policy.md lists every reason code, and there are no others', () => {
  for (const [code, meaning] of Object.entries(reasonCodes)) {
    assert.ok(text.includes(`\`${code}\``), `${code}; ${again}`);
    assert.ok(text.includes(meaning), `${code}; ${again}`);
  }
  const sources = readdirSync(trust, { recursive: true, encoding: 'utf8' }).flatMap((name) =>
    /^(?!.*\.test).*\.ts$/.test(name) && name !== 'policy/reason-codes.ts'
      ? [{ name, source: readFileSync(join(trust, name), 'utf8') }]
      : [],
  );
  const codesOf = (source: string): readonly string[] =>
    source.match(/(?<=')TRUST_[A-Z_0-9]*[A-Z0-9](?=')/g) ?? [];
  const reported = Object.keys(reasonCodes);
  const used = new Set(sources.flatMap(({ source }) => codesOf(source)));
  assert.deepEqual(
    reported.filter((code) => !used.has(code)),
    [],
  );
  // Errors have codes of their own: files that throw them, Workers, the verification of the log, and failures
  // of commands.
  const ofReasons = sources.filter(
    ({ name, source }) =>
      !source.includes('PortcullisError') &&
      !name.endsWith('.worker.ts') &&
      !['verdict-log/', 'tuf-author/', 'policy-release/'].some((folder) => name.startsWith(folder)) &&
      name !== 'sigstore/verify-artifact.ts',
  );
  const unexplained = ofReasons.flatMap(({ name, source }) =>
    codesOf(source).flatMap((code) => (reported.includes(code) ? [] : [`${name}: ${code}`])),
  );
  assert.deepEqual(unexplained, [], 'reasons without a meaning: add them to reason-codes.ts');
  // The checks above would miss a code that is built from pieces.
  assert.deepEqual(
    sources.flatMap(({ name, source }) => (/`TRUST_[A-Z_]*\$\{/.test(source) ? [name] : [])),
    [],
  );
});

test('the examples of docs/policy.md run', async () => {
  const blocks = [...text.matchAll(/```yaml\n([^]*?)```/g)].map(([, yaml = '']) => yaml);
  const [policy = '', tests = ''] = ['TrustPolicy', 'PolicyTest'].map((kind) =>
    blocks.find((yaml) => yaml.includes(`kind: ${kind}`)),
  );
  const folder = await mkdtemp(join(tmpdir(), 'trust-docs-'));
  try {
    await writeFile(join(folder, 'policy.yaml'), policy);
    await writeFile(join(folder, 'test.yaml'), tests);
    const { cases } = await testPolicy({ paths: [join(folder, 'test.yaml')], policy: [], now: new Date() });
    assert.deepEqual(
      cases.map(({ name, failures }) => [name, failures]),
      cases.map(({ name }) => [name, []]),
    );
    assert.equal(cases.length, 3);
  } finally {
    await rm(folder, { recursive: true });
  }
});
