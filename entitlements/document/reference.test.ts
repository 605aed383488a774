import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CATALOG } from '../catalog/catalog.ts';
import { contains } from '../compare/contains.ts';
import { decide } from '../seccomp/decision.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { checkProfiles } from './check.ts';
import { formatProfile } from './format.ts';
import { LINT_CODES } from '../lint/finding.ts';
import { lintProfiles } from '../lint/lint.ts';
import { PARAMETER_TYPES } from './parameters.ts';
import { profileSchema } from './schema.ts';

const docs = join(import.meta.dirname, '../../docs');
const text = readFileSync(join(docs, 'profiles.md'), 'utf8');
const again = 'run: sh packaging/node test/house/profile-reference.ts';
const [example = ''] = [...text.matchAll(/```yaml[^\n]*\n([^]*?)```/g)].map(([, yaml = '']) => yaml);

test('the published schema is the one that profiles are checked by', () => {
  const published: unknown = JSON.parse(readFileSync(join(docs, 'schemas/entitlement-profile.json'), 'utf8'));
  assert.deepEqual(published, JSON.parse(JSON.stringify(profileSchema)), again);
});

test('docs/profiles.md lists every key, entitlement, type of parameter and code', () => {
  const names = [...Object.keys(profileSchema.properties), ...PARAMETER_TYPES, ...Object.keys(LINT_CODES)];
  for (const name of names.filter((key) => !['$schema', 'apiVersion', 'kind'].includes(key)))
    assert.ok(text.includes(`\`${name}\``), name);
  for (const { name, title, argument } of CATALOG.values()) {
    const written = argument === undefined ? name : `${name}=${argument.example}`;
    assert.ok(text.includes(`\`${written}\``) && text.includes(title), `${name}; ${again}`);
  }
  for (const meaning of Object.values(LINT_CODES)) assert.ok(text.includes(meaning), again);
});

test('the example of docs/profiles.md means what the page says', () => {
  const files = [{ file: 'profiles.md', text: example }];
  const { profiles, incomplete, problems } = checkProfiles(files);
  assert.deepEqual(problems, []);
  assert.deepEqual([...incomplete], [['service', ['data']]]);
  const [web] = profiles.map(({ profile }) => profile);
  assert.ok(web?.syscalls.filtered && profiles.length === 1);
  const { syscalls } = web;
  const answer = (call: string, ...args: bigint[]): string => decide(decisionFor(syscalls, call), args);
  // Its own keys decide what network.user excludes and the default omits.
  assert.deepEqual(web.capabilities.includes('NET_BIND_SERVICE'), true);
  assert.deepEqual(
    [answer('socket', 40n, 1n), answer('socket', 40n, 2n), answer('socket', 38n, 1n)],
    ['allow', 'errno 1', 'errno 1'],
  );
  assert.deepEqual(
    [answer('ioctl', 0n, 0x5412n), answer('ioctl', 0n, 0x100005412n), answer('ioctl', 0n, 0x5413n)],
    ['errno 1', 'errno 1', 'allow'],
  );
  assert.deepEqual(
    web.ingress?.map(({ ports }) => ports.low),
    [443, 443],
  );
  assert.ok(
    web.files?.[0]?.allow.some(
      ({ pattern, access }) => pattern === '/srv/web/**' && access.includes('write'),
    ),
  );
  assert.equal(web.resources.memory, 512n << 20n);
  assert.deepEqual(
    lintProfiles(files).map(({ code }) => code),
    ['write-execute'].slice(1),
  );
});

test('the canonical form of an unknown key with the name of a method keeps its own order', () => {
  const text =
    'kind: EntitlementProfile\nconstructor: { b: 1, a: 2 }\nnetwork: { toString: [ { b: 1, a: 2 } ] }\n';
  assert.deepEqual(formatProfile(text, 'f').problems, []);
  assert.match(formatProfile(text, 'f').text, /constructor: \{ b: 1, a: 2 \}/);
});

test('the canonical form keeps comments, and is its own canonical form', () => {
  const written = `# Who wants it
kind: EntitlementProfile
apiVersion: portcullis.dev/v1alpha1
resources: {pids:   10}   # few
syscalls:
    add: [bpf]
    # never
    drop: [chmod]
metadata: {name: x}
`;
  const { text: once, problems } = formatProfile(written, 'f');
  assert.deepEqual(problems, []);
  assert.equal(
    once,
    `# Who wants it
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: x }
syscalls:
  # never
  drop: [ chmod ]
  add: [ bpf ]
resources: { pids: 10 } # few
`,
  );
  assert.equal(formatProfile(once, 'f').text, once);
  const [a, b] = [written, once].map((one) => checkProfiles([{ file: 'f', text: one }]).profiles[0]?.profile);
  assert.ok(a !== undefined && b !== undefined && contains(a, b).yes && contains(b, a).yes);
  assert.equal(formatProfile('a: [', 'f').text, 'a: [');
});
