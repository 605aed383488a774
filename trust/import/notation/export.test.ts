import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadPolicy } from '../../policy/load.ts';
import { levels } from '../../requirements/notation.ts';
import type { TrustPolicy, TrustRule } from '../../requirements/types.ts';
import { exportNotation } from './export.ts';

async function policyOf(rules: string): Promise<TrustPolicy> {
  const folder = await mkdtemp(join(tmpdir(), 'trust-export-'));
  try {
    const file = join(folder, 'policy.yaml');
    await writeFile(
      file,
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules:\n${rules}`,
    );
    return (await loadPolicy({ paths: [file] })).policy;
  } finally {
    await rm(folder, { recursive: true });
  }
}

const require = {
  ...{ kind: 'notation', stores: [{ type: 'ca', name: 'ca/a', certificates: [] }], identities: '*' },
  ...{ level: 'strict', actions: levels.strict, verifyTimestamp: 'always' },
} as unknown as NonNullable<TrustRule['require']>;

const accepting = '  - { images: [r.example/app], allow: unverified }\n';

test('a rule is left out if another name of its registry is denied', async () => {
  const { text, unmapped } = exportNotation(
    await policyOf(`${accepting}  - { images: ["r.example:443/app"], deny: not here }\n`),
  );
  assert.equal(text, undefined);
  assert.equal(unmapped.length, 2);
});

test('a rule is left out if another name of its registry demands a signature', async () => {
  const policy = await policyOf(`${accepting}  - { images: ["r.example:443/app"], deny: not here }\n`);
  const [open, { deny: _, ...denying } = {} as TrustRule] = policy.rules;
  assert.ok(open !== undefined);
  const { text } = exportNotation({ ...policy, rules: [open, { ...denying, require }] });
  assert.equal(text, undefined);
});

test('a rule for one repository becomes a statement', async () => {
  const { text, unmapped } = exportNotation(
    await policyOf(`${accepting}  - { images: [other.example/app], deny: not here }\n`),
  );
  assert.match(text ?? '', /"r\.example\/app"[^]*"skip"/u);
  assert.equal(unmapped.length, 1);
});

test('a rule is left out if a rule for any registry denies or demands more', async () => {
  for (const pattern of ['**', '**/app', '*/app', '**/r.example/app']) {
    const denying = `  - { images: ["${pattern}"], deny: not here }\n`;
    const { text, unmapped } = exportNotation(await policyOf(`${accepting}${denying}`));
    assert.equal(text, undefined, pattern);
    assert.equal(unmapped.length, 2, pattern);
  }
});

test('a rule for every image is left out if it excepts a part of a repository', async () => {
  const policy = await policyOf(`${accepting}  - { images: ["**"], deny: not here }\n`);
  const [open, { deny: _, ...every } = {} as TrustRule] = policy.rules;
  assert.ok(open !== undefined);
  const exportedWith = (except: string) =>
    exportNotation({ ...policy, rules: [open, { ...every, require, except: [except] }] }).text ?? '';
  assert.match(exportedWith('r.example/app'), /"skip"/u);
  for (const part of ['r.example/app:1', `r.example/app@sha256:${'a'.repeat(64)}`])
    assert.doesNotMatch(exportedWith(part), /"skip"/u, part);
});
