import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { policyRevision, readPolicy } from '../../trust/policy/index.ts';
import { mostPolicyLength } from '../records/policy.ts';
import { readPolicyText } from './read-policy.ts';

const text = `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
rules:
  - images: ['r.test/**']
    mode: report
    require: { cosign: { key: build.pub } }
`;

test('the sources of a policy that a node loads have the revision that the node names', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-sources-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const keys = await import('node:crypto');
  const { publicKey } = keys.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(join(folder, 'build.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  writeFileSync(join(folder, 'a.yaml'), text);
  const { policy, sources, problems } = await readPolicy({ paths: [folder] });
  assert.deepEqual(problems, []);
  const sent = { revision: policy?.revision ?? '', ...sources };
  const read = readPolicyText(JSON.stringify(sent));
  assert.deepEqual(read, { revision: policy?.revision, json: JSON.stringify(sources) });
  const [file] = sources?.files ?? [];
  const other = { ...sent, files: [{ ...file, text: `${file?.text}# comment\n` }] };
  assert.match(JSON.stringify(readPolicyText(JSON.stringify(other))), /has the revision sha256:/u);
});

for (const [what, body, why] of [
  ['not JSON', '{', /not JSON/u],
  ['longer than the limit', JSON.stringify('x'.repeat(mostPolicyLength)), /longer than/u],
  ['without keys', JSON.stringify({ revision: `sha256:${'0'.repeat(64)}`, files: [] }), /malformed/u],
  [
    'with another field',
    JSON.stringify({ revision: `sha256:${'0'.repeat(64)}`, files: [], keys: [], more: 1 }),
    /malformed/u,
  ],
] as const)
  test(`a policy that is ${what} is refused`, () => {
    const read = readPolicyText(body);
    assert.match('refused' in read ? read.refused : '', why);
  });

test('a policy with half of a surrogate pair is refused, because another text would have the same revision', () => {
  const [half, other] = ['\ud800', '\udfff'].map((text) => ({ files: [{ name: 'a.yaml', text }], keys: [] }));
  assert.ok(half !== undefined && other !== undefined);
  assert.equal(policyRevision(half), policyRevision(other));
  const read = readPolicyText(JSON.stringify({ revision: policyRevision(half), ...half }));
  assert.match('refused' in read ? read.refused : '', /half of a surrogate pair/u);
});
