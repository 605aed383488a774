import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import { embeddedTrustedRoot } from '../sigstore/seeds.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { loadPolicy, policyOfKey } from './load.ts';
import { starterPolicy, writeStarterPolicy } from './starter.ts';

const keys = join(import.meta.dirname, '../evidence/fixtures/keys');
let folder = '';
let count = 0;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trust-policy-'));
});
after(() => rm(folder, { recursive: true }));

/** Writes files into a new folder, with two keys beside them. */
async function place(files: Readonly<Record<string, string>>): Promise<string> {
  const home = join(folder, String((count += 1)));
  await mkdir(home, { recursive: true });
  await copyFile(join(keys, 'ecdsa-p256.pub'), join(home, 'one.pub'));
  await copyFile(join(keys, 'rsa-2048.pub'), join(home, 'two.pub'));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(home, name)), { recursive: true });
    await writeFile(join(home, name), text);
  }
  return home;
}

const head = 'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\n';
const plain = `${head}rules:\n  - images: ["r.example/**"]\n    require: { cosign: { key: one.pub } }\n`;

async function load(text: string): Promise<TrustPolicy> {
  return (await loadPolicy({ paths: [join(await place({ 'policy.yaml': text }), 'policy.yaml')] })).policy;
}

async function problemsOf(
  text: string,
  others: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  const home = await place({ 'policy.yaml': text, ...others });
  try {
    await loadPolicy({ paths: [join(home, 'policy.yaml')] });
  } catch (error) {
    assert.ok(isPortcullisError(error) && error.code === 'TRUST_POLICY_INVALID', String(error));
    const problems = error.failure.details?.['problems'] as readonly Problem[];
    return problems.map(
      ({ position, message, fix }) =>
        `${position.line}:${position.column} ${message}${fix === undefined ? '' : `; ${fix}`}`,
    );
  }
  return [];
}

test('a rule has its position, its key and, by default, the ceiling baseline', async () => {
  const policy = await load(plain);
  const [rule] = policy.rules;
  assert.equal(rule?.name, 'policy.yaml:5');
  assert.deepEqual(rule?.ceiling, { rule: 'policy.yaml:5', ceiling: 'baseline' });
  assert.equal(rule?.require?.kind === 'cosign-key' ? rule.require.key.name : '', 'one.pub');
  assert.equal(rule?.allowUnverified, false);
});

test('all, any and threshold nest; namespaces, allow and entitlements are read', async () => {
  const policy = await load(
    `${head}rules:
  - images: [a.example/x, "b.example/**"]
    namespaces: ["pay-*"]
    require: { all: [ { any: [ { cosign: { key: one.pub } }, { cosign: { key: two.pub } } ] }, { threshold: { count: 2, of: [ { cosign: { key: one.pub } }, { cosign: { key: two.pub } } ] } } ] }
    entitlements: { ceiling: web, require: signed }
  - images: ["localhost:*/dev/**"]
    allow: unverified
`,
  );
  const [first, second] = policy.rules;
  assert.deepEqual(first?.namespaces, ['pay-*']);
  assert.deepEqual(first?.ceiling, { rule: 'policy.yaml:5', ceiling: 'web', require: 'signed' });
  assert.ok(
    first?.require?.kind === 'all' &&
      first.require.of[1]?.kind === 'threshold' &&
      first.require.of[1].count === 2,
  );
  assert.equal(second?.allowUnverified, true);
  assert.equal(second?.require, undefined);
});

test('several files and documents are one policy; documents of other kinds are listed for the room that reads them', async () => {
  const home = await place({
    'p/10-a.yaml': plain.replace('one.pub', '../one.pub'),
    'p/20-b.yaml': `${plain.replace('one.pub', '../two.pub')}---\napiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: web }\n`,
    'p/.hidden.yaml': 'not: a policy',
    'p/readme.txt': 'not a policy',
  });
  const { policy, otherDocuments, files } = await loadPolicy({ paths: [join(home, 'p')] });
  assert.deepEqual(
    policy.rules.map(({ name }) => name),
    ['10-a.yaml:5', '20-b.yaml:5'],
  );
  assert.deepEqual(
    otherDocuments.map(({ kind, name, line }) => [kind, name, line]),
    [['EntitlementProfile', 'web', 8]],
  );
  assert.deepEqual(
    files.map((file) => file.slice(home.length + 1)),
    ['p/10-a.yaml', 'p/20-b.yaml', 'one.pub', 'two.pub'],
  );
});

test('JSON is a policy too', async () => {
  const json = {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: 'TrustPolicy',
    rules: [{ images: ['**'], allow: 'unverified' }],
  };
  const home = await place({ 'policy.json': JSON.stringify(json) });
  assert.equal((await loadPolicy({ paths: [home] })).policy.rules.length, 1);
});

test('the revision follows every byte of policy and keys, and nothing else', async () => {
  const first = await load(plain);
  assert.equal((await load(plain)).revision, first.revision);
  assert.notEqual((await load(`${plain}# a comment\n`)).revision, first.revision);
  const home = await place({ 'policy.yaml': plain });
  await copyFile(join(keys, 'ecdsa-p384.pub'), join(home, 'one.pub'));
  assert.notEqual((await loadPolicy({ paths: [home] })).policy.revision, first.revision);
});

const table: readonly (readonly [name: string, text: string, expected: readonly RegExp[]])[] = [
  [
    'an unknown field',
    plain.replace('images', 'imagess'),
    [/^5:5 .*`images` is missing/, /^5:5 unknown field `imagess`; did you mean `images`/],
  ],
  [
    'a missing key file',
    plain.replace('one.pub', 'gone.pub'),
    [/^6:\d+ the key file gone\.pub cannot be used: there is no such file; put the PEM public key there/],
  ],
  [
    'a private key as key',
    plain.replace('one.pub', 'secret.pem'),
    [/^6:\d+ .*private key; a policy names public keys/],
  ],
  [
    'the text of a key instead of its file, without the text in the message',
    plain.replace('one.pub', '"-----BEGIN PUBLIC KEY-----\\nMFkw\\n-----END PUBLIC KEY-----"'),
    [
      /^6:\d+ this is the text of a key or certificate, and not the name of its file; write the text to a file beside [^-]*$/,
    ],
  ],
  ['a folder as key', plain.replace('one.pub', '.'), [/^6:\d+ .*it is a folder/]],
  ['a bad pattern', plain.replace('r.example/**', 'r.example/App'), [/^5:14 .*lower case/]],
  [
    'a bad namespace',
    plain.replace('require', 'namespaces: ["Pay!"]\n    require'),
    [/^6:\d+ .*Kubernetes namespace/],
  ],
  [
    'tuf without an address and a root',
    plain.replace('cosign: { key: one.pub }', 'tuf: { service: x }'),
    [/^6:16 it has neither `root` nor `trustOnFirstUse`; write root: FILE/, /^6:32 .*; write https:/],
  ],
  [
    'tuf under any',
    plain.replace(
      'cosign: { key: one.pub }',
      'any: [ { tuf: { service: "https://t.example", trustOnFirstUse: true } }, { cosign: { key: one.pub } } ]',
    ),
    [/^6:\d+ `tuf` may not be one of several alternatives; write it beside them/],
  ],
  [
    'tuf with an invalid root',
    plain.replace('cosign: { key: one.pub }', 'tuf: { service: "https://t.example", root: one.pub }'),
    [/^6:\d+ the root one\.pub cannot be used: .*JSON.*; name the first root\.json/],
  ],
  [
    'sigstore under any',
    plain.replace(
      'cosign: { key: one.pub }',
      'any: [ { cosign: { key: one.pub } }, { sigstore: { issuer: x } } ]',
    ),
    [/`subject` is missing/],
  ],
  ['a transparency log by name', plain.replace('key: one.pub', 'key: one.pub, log: rekor'), [/^6:\d+ /]],
  [
    'an issuer by pattern, a subject that is anybody, an unknown claim',
    plain.replace(
      'cosign: { key: one.pub }',
      'all: [ { sigstore: { issuer: "https://*", subject: a } }, { sigstore: { issuer: i, subject: "**" } }, { sigstore: { issuer: i, subject: s, claims: { ref: x } } } ]',
    ),
    [/an issuer is compared exactly/, /this subject matches every identity/, /unknown field `ref`/],
  ],
  [
    'an invalid trusted root, and one that was never fetched',
    plain.replace(
      'cosign: { key: one.pub }',
      'all: [ { sigstore: { issuer: i, subject: s, root: one.pub } }, { cosign: { key: one.pub, log: { root: { tuf: { url: "https://tuf.invalid", cache: nowhere } } } } } ]',
    ),
    [
      /the trusted root one\.pub cannot be used: it is not/,
      /the trusted root https:\/\/tuf\.invalid cannot be used: there is no such file; fetch it/,
    ],
  ],
  [
    'more logs than the root names, and no proof of any time',
    plain.replace(
      'cosign: { key: one.pub }',
      'all: [ { sigstore: { issuer: i, subject: s, log: 8 } }, { sigstore: { issuer: i, subject: s, log: false } } ]',
    ),
    [
      /8 transparency logs are required, but the root public-good names 2/,
      /nothing proves when it was signed/,
    ],
  ],
  ['onStale without tuf', `${plain}    onStale: deny\n`, [/^7:5 `onStale` is about the service of `tuf`/]],
  [
    'two requirements in one',
    plain.replace(
      'cosign: { key: one.pub }',
      'cosign: { key: one.pub }, any: [ { cosign: { key: two.pub } } ]',
    ),
    [/must have at most 1 field/],
  ],
  [
    'an age that nothing can prove',
    plain.replace('{ key: one.pub }', '{ key: one.pub, maxAge: 30d, notBefore: 2026-01-31 }'),
    [
      /^6:40 nothing proves when the key made the signature: maxAge can never be met; add log: true/,
      /^6:53 .*notBefore can never be met/,
    ],
  ],
  [
    'an empty requirement',
    plain.replace('{ cosign: { key: one.pub } }', '{}'),
    [/must have at least 1 field/],
  ],
  ['neither require nor allow', `${head}rules:\n  - images: [a.example/x]\n`, [/^5:5 the rule says neither/]],
  ['both require and allow', `${plain}    allow: unverified\n`, [/^7:5 a rule either requires or allows/]],
  [
    'another allow',
    `${head}rules:\n  - images: [a.example/x]\n    allow: everything\n`,
    [/^6:12 "everything" is not known here/],
  ],
  [
    'a threshold that cannot be reached',
    plain.replace(
      'cosign: { key: one.pub }',
      'threshold: { count: 2, of: [ { cosign: { key: one.pub } } ] }',
    ),
    [/2 of 1 requirements can never be satisfied/],
  ],
  [
    'one key twice in a threshold',
    plain.replace(
      'cosign: { key: one.pub }',
      'threshold: { count: 2, of: [ { cosign: { key: one.pub } }, { cosign: { key: same.pub } } ] }',
    ),
    [/the key same\.pub is the same key as one\.pub/],
  ],
  ['default: allow', plain.replace('default: deny', 'default: allow'), [/^3:10 must be "deny"/]],
  ['a misspelt kind', plain.replace('TrustPolicy', 'TrustPolcy'), [/^2:7 must be "TrustPolicy"/]],
  ['another version', plain.replace('v1alpha1', 'v9'), [/^1:13 must be "portcullis.dev\/v1alpha1"/]],
  ['a syntax error', `${head}rules: [\n`, [/^\d+:\d+ /]],
  ['a key twice', `${plain}default: deny\n`, [/^7:1 the key .*occurs twice/]],
  ['an empty file', '', [/^1:1 /]],
  ['only other documents', 'kind: EntitlementProfile\n', [/^1:1 no document of kind TrustPolicy/]],
  [
    'several at once, in order of position',
    plain
      .replace('r.example/**', 'R/@')
      .replace('one.pub', 'gone.pub')
      .replace('default: deny', 'defalt: deny'),
    [/^3:1 unknown field `defalt`/, /^5:14 /, /^6:\d+ the key file gone/],
  ],
];

test('a folder without a policy is named without a line', async () => {
  const empty = await mkdtemp(join(tmpdir(), 'trust-none-'));
  const refusedFor = (why: string) =>
    assert.rejects(loadPolicy({ paths: [empty] }), {
      code: 'TRUST_POLICY_INVALID',
      message: new RegExp(`\\n${empty}: ${why}; .*\\ncorrect the files named`, 'u'),
    });
  await refusedFor('the folder contains no .yaml, .yml or .json file');
  await writeFile(join(empty, 'other.yaml'), 'kind: EntitlementProfile\n');
  await refusedFor('no document of kind TrustPolicy');
  await rm(empty, { recursive: true });
});

test('a policy file that is too large is to be split, and not to be named again', async (t) => {
  const large = await mkdtemp(join(tmpdir(), 'trust-large-'));
  t.after(() => rm(large, { recursive: true }));
  const file = join(large, 'policy.yaml');
  await writeFile(file, `#${' '.repeat(1024 * 1024)}`);
  await assert.rejects(loadPolicy({ paths: [large] }), {
    code: 'TRUST_POLICY_INVALID',
    message: new RegExp(
      `\\n${file}: it is larger than 1048576 bytes; split it into .*\\ncorrect the files named`,
      's',
    ),
  });
});

for (const [name, text, expected] of table) {
  test(`refuses ${name}, with its position`, async () => {
    const problems = await problemsOf(text, {
      'secret.pem': '-----BEGIN PRIVATE KEY-----\n',
      'same.pub': await publicKeyText(),
    });
    assert.equal(problems.length, expected.length, problems.join('\n'));
    for (const [index, pattern] of expected.entries()) assert.match(problems[index] ?? '', pattern);
  });
}

test('a policy that is not UTF-8 is refused, because its values would be others than its author wrote', async () => {
  const file = join(folder, 'latin1.yaml');
  await writeFile(
    file,
    Buffer.from('apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules: [] # \u00e9\n', 'latin1'),
  );
  await assert.rejects(loadPolicy({ paths: [file] }), /latin1\.yaml:1:1: the file is not UTF-8; save it/u);
});

test('the error for a policy that cannot be read names the file', async () => {
  await assert.rejects(
    loadPolicy({ paths: [join(folder, 'nowhere')] }),
    /nowhere: cannot be read: it does not exist.*TRUST_POLICY_INVALID/s,
  );
  await mkdir(join(folder, 'empty'));
  await assert.rejects(loadPolicy({ paths: [join(folder, 'empty')] }), /contains no \.yaml/);
});

test('the starter policy is valid once its key is there, and its schema is not part of the folder', async () => {
  const home = await place({});
  await rm(join(home, 'one.pub'));
  await copyFile(join(keys, 'ecdsa-p256.pub'), join(home, 'cosign.pub'));
  await writeStarterPolicy(join(home, 'policy.yaml'));
  assert.equal((await loadPolicy({ paths: [home] })).policy.rules.length, 1);
  assert.match(starterPolicy(), /^# yaml-language-server: \$schema=https:/);
  await assert.rejects(
    writeStarterPolicy(join(home, 'policy.yaml')),
    /it exists already.*TRUST_POLICY_NOT_WRITTEN/,
  );
  await assert.rejects(
    writeStarterPolicy(join(home, 'none/policy.yaml')),
    /: its folder does not exist; .*TRUST_POLICY_NOT_WRITTEN/,
  );
  await assert.rejects(
    writeStarterPolicy(join(home, 'policy.json')),
    /is not JSON; .*\.yaml.*TRUST_POLICY_NOT_WRITTEN/,
  );
});

test('the starter policy names the given images, and an invalid pattern is refused', async () => {
  const home = await place({});
  await rm(join(home, 'one.pub'));
  await copyFile(join(keys, 'ecdsa-p256.pub'), join(home, 'cosign.pub'));
  const images = ['one.example/a/**', 'localhost:*/b'];
  await writeFile(join(home, 'policy.yaml'), starterPolicy(undefined, images));
  assert.deepEqual((await loadPolicy({ paths: [home] })).policy.rules[0]?.images, images);
  for (const wrong of ['', 'a"b/**', 'one.example/**x', 'one.example/a\n- b'])
    assert.throws(() => starterPolicy(undefined, [wrong]), /TRUST_IMAGE_PATTERN_INVALID/);
});

test('a single key makes a policy', async () => {
  const policy = await policyOfKey(join(keys, 'ecdsa-p256.pub'));
  assert.deepEqual(policy.rules[0]?.images, ['**']);
  await assert.rejects(policyOfKey(join(keys, 'ecdsa-p256.key')), /private key.*TRUST_KEY_UNREADABLE/);
});

async function publicKeyText(): Promise<string> {
  return readFile(join(keys, 'ecdsa-p256.pub'), 'utf8');
}

test('a trusted root in the policy folder is ignored when a policy refers to it, and a problem otherwise', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'policy-root-'));
  t.after(() => rm(folder, { recursive: true }));
  const policy = (rule: string): string =>
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    ${rule}\n`;
  await writeFile(join(folder, 'trusted_root.json'), embeddedTrustedRoot());
  await writeFile(
    join(folder, 'p.yaml'),
    policy('require: { sigstore: { issuer: "https://a.test", subject: "a", root: trusted_root.json } }'),
  );
  const { policy: loaded, files } = await loadPolicy({ paths: [folder] });
  assert.equal(loaded.rules.length, 1);
  assert.ok(files.includes(join(folder, 'trusted_root.json')));
  await writeFile(join(folder, 'p.yaml'), policy('allow: unverified'));
  await assert.rejects(loadPolicy({ paths: [folder] }), /trusted_root\.json:1:1/);
});

test('a rule with the word of other tools for a keyless signature names the field to use', async () => {
  const text = `${head}rules:\n  - images: ["r.example/**"]\n    require: { keyless: { issuer: https://i.example, subject: s } }\n`;
  await assert.rejects(load(text), /unknown field `keyless`; .*`sigstore`, `issuer` and `subject`/u);
});

for (const [from, text] of [
  [
    'cluster-image-policy',
    'apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nspec: { images: [{ glob: "**" }] }\n',
  ],
  ['kyverno', 'apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nspec: { rules: [] }\n'],
  ['notation', '{ "version": "1.0", "trustPolicies": [] }\n'],
  ['containers', '{ "default": [{ "type": "reject" }] }\n'],
] as const)
  test(`the policy of another tool is one problem, which names the import: ${from}`, async () => {
    await assert.rejects(load(text), (thrown) => {
      assert.ok(isPortcullisError(thrown));
      const { problems } = thrown.failure.details as { readonly problems: readonly Problem[] };
      assert.deepEqual([thrown.code, problems.length], ['TRUST_POLICY_INVALID', 1]);
      assert.match(problems[0]?.fix ?? '', new RegExp(`policy import --from ${from} .*policy\\.yaml$`, 'u'));
      return true;
    });
  });
