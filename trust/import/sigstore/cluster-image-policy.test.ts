import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../../evidence/fixtures/fuzzing.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { parseReference } from '../../../base/distribution/index.ts';
import { matchRules } from '../../policy/matching.ts';
import { parseImagePattern, patternMatches } from '../../requirements/image-pattern.ts';
import { normaliseReference } from '../../requirements/named-images.ts';
import type { TrustPolicy, TrustRule } from '../../requirements/types.ts';
import { importPolicy } from '../convert.ts';
import { imported, keyText } from '../imported-policy.fixture.ts';
import { literalOfExpression, patternOfExpression } from '../mapping/pattern-of-expression.ts';
import { exportClusterImagePolicies } from './export.ts';
import { patternsOfGlob } from './image-glob.ts';

const policyOf = (spec: string): string =>
  `apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: { name: p }\nspec:\n${spec}`;
const images = '  images: [ { glob: "ghcr.io/org/**" } ]\n';
const github = 'https://token.actions.githubusercontent.com';
const identity = (more: string): string =>
  policyOf(
    `${images}  authorities:\n    - keyless:\n        identities: [ { issuer: "${github}", ${more} } ]\n`,
  );
const key = policyOf(`${images}  authorities:\n    - key:\n        data: |\n${keyText(10)}\n`);

/** Returns the rules as plain text, for matching against a regular expression. */
async function rulesOf(
  text: string,
): Promise<{ readonly rules: string; readonly unmapped: readonly string[] }> {
  const { result } = await imported('cluster-image-policy', text);
  return {
    rules: JSON.stringify(result.rules.map(({ rule }) => rule)),
    unmapped: result.unmapped.map(({ line, path, why }) => `${line} ${path} ${why}`),
  };
}

/** From policy-controller's documentation and the comments of its types (v1beta1). */
const table: readonly (readonly [what: string, text: string, rules: RegExp, unmapped: readonly RegExp[]])[] =
  [
    [
      'a key',
      key,
      /"images":\["ghcr\.io\/org\/\*\*"\],"require":\{"cosign":\{"key":"keys\/p-0\.pub"\}\}/,
      [],
    ],
    [
      'two keys, of which policy-controller reads the first',
      `${key}${keyText(10, 'rsa-2048')}\n`,
      /"deny"/,
      [/2 keys, and only the first/],
    ],
    [
      'a key and the public log',
      `${key}      ctlog: { url: https://rekor.sigstore.dev }\n`,
      /"log":true/,
      [],
    ],
    ['a key without a log (ctlog: {})', `${key}      ctlog: {}\n`, /"cosign":\{"key":"[^"]+"\}/, []],
    [
      'a key and another log',
      `${key}      ctlog: { url: https://rekor.example.com }\n`,
      /"deny"/,
      [/ctlog a log other/],
    ],
    [
      'a TrustRoot',
      `${key}      rfc3161timestamp: { trustRootRef: t }\n`,
      /"deny"/,
      [/rfc3161timestamp a TrustRoot/],
    ],
    [
      'a key in a KMS',
      policyOf(`${images}  authorities: [ { key: { kms: "gcpkms://k" } } ]\n`),
      /"deny"/,
      [/a KMS is not read/],
    ],
    [
      'a key of sha512',
      key.replace('key:', 'key:\n        hashAlgorithm: sha512'),
      /"deny"/,
      [/only sha256/],
    ],
    ['a private key', key.replaceAll('PUBLIC KEY', 'PRIVATE KEY'), /"deny"/, [/private key/]],
    [
      'signatures elsewhere',
      `${key}      source: [ { oci: other.example/sigs } ]\n`,
      /"deny"/,
      [/outside the image/],
    ],
    [
      'an identity',
      identity('subject: "me@example.com"'),
      /"sigstore":\{"issuer":"https:[^"]+","subject":"me@example\.com"\}/,
      [],
    ],
    [
      'an expression',
      identity(`subjectRegExp: "^https://github\\\\.com/org/.*$"`),
      /"subject":"https:\/\/github\.com\/org\/\*\*"/,
      [],
    ],
    ['an unanchored expression', identity('subjectRegExp: "github"'), /"subject":"\*\*github\*\*"/, []],
    [
      'an expression with no pattern',
      identity('subjectRegExp: "^a|b$"'),
      /"deny"/,
      [/has no pattern/, /no identity/],
    ],
    [
      'an expression with a dot that is not escaped',
      identity('subjectRegExp: "^https://github.com/org/.*$"'),
      /"deny"/,
      [/"\." stands for any character, and has no pattern: write "\\\." for a dot/, /no identity/],
    ],
    ['anybody', identity('subjectRegExp: ".*"'), /"deny"/, [/any identity/, /no identity/]],
    ['no subject', identity('x: 1'), /"deny"/, [/without a subject/, /no identity/]],
    ['a subject with a star, exactly', identity('subject: "a*"'), /"deny"/, [/literal \*/, /no identity/]],
    [
      'another certificate authority',
      identity('subject: a').replace('identities:', 'url: https://f.example\n        identities:'),
      /"deny"/,
      [/certificate authority/],
    ],
    ['an identity without a log', `${identity('subject: a')}      ctlog: {}\n`, /"deny"/, [/does not prove/]],
    [
      'any of two authorities',
      policyOf(
        `${images}  authorities:\n    - static: { action: fail }\n    - key:\n        data: |\n${keyText(10)}\n    - key: { kms: x }\n    - key:\n        data: |\n${keyText(10, 'rsa-2048')}\n`,
      ),
      /"any":\[\{"cosign".*\{"cosign"/,
      [/KMS/],
    ],
    [
      'static pass',
      policyOf(`${images}  authorities: [ { static: { action: pass } } ]\n`),
      /"allow":"unverified"/,
      [],
    ],
    [
      'static pass for a registry that no name has',
      policyOf(
        '  images: [ { glob: "docker.io/me/**" }, { glob: "ghcr.io/me/**" } ]\n  authorities: [ { static: { action: pass } } ]\n',
      ),
      /^\[\{"images":\["ghcr\.io\/me\/\*\*"\],"allow":"unverified"\}\]$/,
      [/images\[0\] no pattern matches exactly/],
    ],
    [
      'static pass for a registry whose host references write in another form',
      policyOf(
        '  images: [ { glob: "GHCR.io/me/**" }, { glob: "ghcr.io:0443/me/**" } ]\n  authorities: [ { static: { action: pass } } ]\n',
      ),
      /^\[\]$/,
      [/images\[0\] no pattern matches exactly/, /images\[1\] no pattern matches exactly/],
    ],
    [
      'only warnings, for images without an exact pattern',
      key.replace('ghcr.io/org/**', 'ghcr.io/a*b').replace('spec:\n', 'spec:\n  mode: warn\n'),
      /^\[\{"images":\["ghcr\.io\/a\*"\],"require":\{"cosign":\{"key":"[^"]+"\}\}\}\]$/,
      [/mode no patterns match exactly/],
    ],
    [
      'a glob whose registry is open',
      key.replace('ghcr.io/org/**', 'reg*/app'),
      /^\[\{"images":\["\*\*"\],"deny"/,
      [/any part of a registry/],
    ],
    [
      'static fail',
      policyOf(`${images}  authorities: [ { static: { action: fail, message: no } } ]\n`),
      /"deny":"no"/,
      [],
    ],
    ['warn', key.replace('spec:\n', 'spec:\n  mode: warn\n'), /"mode":"report"/, []],
    ['an unknown mode', key.replace('spec:\n', 'spec:\n  mode: perhaps\n'), /"deny"/, [/not a known mode/]],
    [
      'a policy in CUE',
      key.replace('spec:\n', 'spec:\n  policy: { type: cue, data: x }\n'),
      /"deny"/,
      [/CUE or Rego/],
    ],
    [
      'pods only',
      key.replace('spec:\n', 'spec:\n  match: [ { resource: pods, version: v1 } ]\n'),
      /"require"/,
      [],
    ],
    [
      'pods by label',
      key.replace(
        'spec:\n',
        'spec:\n  match: [ { resource: pods, version: v1, selector: { matchLabels: { a: b } } } ]\n',
      ),
      /"deny"/,
      [/selection of resources/],
    ],
    [
      'an attestation',
      `${key}      attestations: [ { name: a, predicateType: spdxjson } ]\n`,
      /"attestation":\{"type":"https:\/\/spdx\.dev\/Document[^"]*","by":\{"cosign"/,
      [],
    ],
    [
      'an attestation with CUE',
      `${key}      attestations: [ { name: a, predicateType: vuln, policy: { type: cue, data: x } } ]\n`,
      /"deny"/,
      [/CUE or Rego/],
    ],
    ['an unknown field', `${key}      newThing: 1\n`, /"deny"/, [/`newThing` has no counterpart/]],
    [
      'a glob without a pattern',
      key.replace('org/**', 'org**'),
      /^\[\{"images":\["ghcr\.io\/\*\*"\],"deny":[^}]*\}\]$/,
      [/no pattern/],
    ],
  ];

for (const [what, text, rules, unmapped] of table) {
  test(what, async () => {
    const found = await rulesOf(text);
    assert.match(found.rules, rules);
    assert.equal(found.unmapped.length, unmapped.length, found.unmapped.join('\n'));
    for (const [index, pattern] of unmapped.entries()) assert.match(found.unmapped[index] ?? '', pattern);
  });
}

const digest = `sha256:${'a1'.repeat(32)}`;
/** Globs and references, based on the comments of policy-controller's pkg/apis/glob. */
const globs: readonly (readonly [glob: string, reference: string, matches: boolean])[] = [
  ['ghcr.io/org/*', 'ghcr.io/org/app:1', true],
  ['ghcr.io/org/*', 'ghcr.io/org/a/b:1', false],
  ['ghcr.io/org/**', 'ghcr.io/org/a/b:1', true],
  ['ghcr.io/org/app:**', 'ghcr.io/org/app:1', true],
  ['ghcr.io/org/app:v*', 'ghcr.io/org/app:1', false],
  ['ghcr.io/org/app', 'ghcr.io/org/app', true],
  ['ghcr.io/org/app', 'ghcr.io/org/app:2', false],
  ['ghcr.io/**/app:1', 'ghcr.io/app:1', false],
  ['**/*/app:1', 'ghcr.io/app:1', false],
  ['ghcr.io/org/*:*', `ghcr.io/org/app@${digest}`, true],
  ['ghcr.io/org/a*p', 'ghcr.io/org/app:stop', true],
  ['ghcr.io/org/*to*', 'ghcr.io/org/app:stop', true],
  ['ghcr.io/org/*a1*', `ghcr.io/org/web@${digest}`, true],
  ['ghcr.io*/org/app*', 'ghcr.io:5000/org/app:1', true],
  ['*.docker.io/**', 'ubuntu:24.04', true],
  ['ghcr.io/**/app:1', 'ghcr.io/a/b/app:1', true],
  ['index.docker.io/library/ubuntu*', 'ubuntu:24.04', true],
  ['*', 'ubuntu', true],
  ['*/*', 'me/app', true],
  ['**', 'anything.example/a:1', true],
];

for (const [glob, reference, matches] of globs) {
  test(`the glob ${glob} ${matches ? 'matches' : 'does not match'} ${reference}`, async () => {
    const { policy } = await imported('cluster-image-policy', key.replace('ghcr.io/org/**', glob));
    assert.equal(matchRules(policy, normaliseReference(reference), '').requiring.length, matches ? 1 : 0);
  });
}

/** As pkg/apis/glob compares a glob with the name that policy-controller gives a reference. */
function globMatchesName(glob: string, reference: string): boolean {
  const { registry, repository, tag, digest: by } = parseReference(reference);
  const host = registry === 'docker.io' ? 'index.docker.io' : registry;
  const whole = glob === '*' ? 'index.docker.io/library/*' : glob === '*/*' ? 'index.docker.io/*/*' : glob;
  const parts = whole.split('**').map((part) => part.replaceAll('.', '\\.').replaceAll('*', '[^/]*'));
  return new RegExp(`^${parts.join('.*')}$`, 'u').test(
    by === undefined ? `${host}/${repository}:${tag ?? 'latest'}` : `${host}/${repository}@${by}`,
  );
}

test('patterns match every image of a glob, and no other if they are exact', () => {
  const part = fc.constantFrom(
    ...['*', '**', 'ghcr.io', 'ghcr.io*', '*.io', 'reg*', '*0', '*:*', 'docker.io', '*.docker.io'],
    ...['index.docker.io', 'localhost', 'library', 'org', 'o*', 'app', 'app*', 'a*p', 'app:1', 'app:*'],
    ...['*:**', '*:1', 'a*:a*', 'a*6:*', '*p*', '*to*', '*a*', '*:*:*', 'app:1:*'],
  );
  const reference = fc.constantFrom(
    ...['app', 'app:1', 'org/app', 'ghcr.io/app:1', 'ghcr.io/org/app:1', 'ghcr.io/org/app:stop'],
    ...['ghcr.io:5000/org/app', 'localhost/app', 'reg.example/app:1', 'reg.example:50/org/app:a'],
    ...['ghcr.io/a/b/app', `app@${digest}`, `ghcr.io/org/app@${digest}`],
  );
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), reference, (parts, image) => {
      const glob = parts.join('/');
      const found = patternsOfGlob(glob);
      if ('problem' in found) return;
      const named = normaliseReference(image);
      const isOurs = found.patterns.some((text) => patternMatches(parseImagePattern(text), named));
      const isTheirs = globMatchesName(glob, image);
      if (isTheirs) assert.ok(isOurs, `${glob} matches ${image}, and ${found.patterns.join()} does not`);
      if (isOurs && found.exact) assert.ok(isTheirs, `${found.patterns.join()} matches more than ${glob}`);
    }),
    fuzzing(17, 5000),
  );
});

test('a glob that is no glob is refused, however long it is', () => {
  assert.ok('problem' in patternsOfGlob(`ghcr.io/${'a'.repeat(100)}**b`));
});

test('every policy that matches must pass', async () => {
  const { policy } = await imported('cluster-image-policy', `${key}---\n${identity('subject: a@b')}`);
  assert.equal(matchRules(policy, normaliseReference('ghcr.io/org/app:1'), '').requiring.length, 2);
});

test('a file without a ClusterImagePolicy, or without a readable one, is refused with its position', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'trust-import-'));
  try {
    for (const [text, says] of [
      ['kind: Pod\n', /source\.yaml:1:1: it contains no ClusterImagePolicy/],
      ['a: [\n', /source\.yaml:\d+:\d+:/],
      [
        'apiVersion: config.openshift.io/v1\nkind: ClusterImagePolicy\n',
        /no ClusterImagePolicy of policy\.sigstore\.dev/,
      ],
    ] as const) {
      await writeFile(join(folder, 'source.yaml'), text);
      await assert.rejects(importPolicy('cluster-image-policy', [join(folder, 'source.yaml')]), says);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the pattern of an expression matches the same texts, and no more', () => {
  const piece = fc.constantFrom('a', 'b', '\\.', '.*', '/', '-');
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.array(piece, { maxLength: 5 }),
      fc.boolean(),
      fc.string({ unit: fc.constantFrom('a', 'b', '.', '/', '-'), maxLength: 6 }),
      (start, pieces, end, text) => {
        const expression = `${start ? '^' : ''}${pieces.join('')}${end ? '$' : ''}`;
        const result = patternOfExpression(expression);
        assert.ok('pattern' in result);
        const ours = new RegExp(
          `^${result.pattern
            .split('**')
            .map((part) => part.replaceAll(/[.\\/-]/g, '\\$&'))
            .join('.*')}$`,
        );
        assert.equal(
          ours.test(text),
          new RegExp(expression).test(text),
          `${expression} → ${result.pattern}: ${text}`,
        );
      },
    ),
    fuzzing(3, 500),
  );
  for (const expression of [
    'a+',
    'a?',
    'a{2}',
    '(a)',
    '[ab]',
    'a|b',
    '\\d',
    '.',
    'a*',
    '^^a',
    'a\\',
    '.+',
    '.*?',
  ])
    assert.ok('problem' in patternOfExpression(expression), expression);
  assert.equal(literalOfExpression('^https://a\\.b$'), 'https://a.b');
  assert.equal(literalOfExpression('https://a\\.b'), undefined);
});

test('an exported rule is imported unchanged, and a rule without a counterpart always fails there', async () => {
  const { policy } = await imported('cluster-image-policy', key);
  const { text, unmapped } = exportClusterImagePolicies(policy);
  assert.deepEqual(unmapped, []);
  const again = await imported('cluster-image-policy', text);
  assert.deepEqual(again.policy.rules[0]?.images, policy.rules[0]?.images);
  const [rule] = policy.rules;
  assert.ok(rule);
  const narrow: TrustPolicy = {
    ...policy,
    rules: [
      { ...rule, namespaces: ['a'] },
      { ...rule, images: ['r.example/app'] },
    ],
  };
  const exported = exportClusterImagePolicies(narrow);
  assert.deepEqual(
    exported.unmapped.map(({ became }) => became.replace(/^.*(fail|begin with).*$/, '$1')),
    ['fail', 'begin with'],
  );
  assert.match(exported.text, /action: fail/);
  assert.match(exported.text, /glob: r\.example\/app\*\n/);
});

test('an exported policy applies to its images by their digests, and accepts no longer name unsigned', async () => {
  const { policy } = await imported('cluster-image-policy', key);
  const [rule] = policy.rules;
  assert.ok(rule);
  const { require: _, ...plain } = rule;
  const globsOf = (text: string): string[] =>
    [...text.matchAll(/glob: "?([^"\n]+)"?\n/g)].map(([, glob = '']) => glob);
  for (const [pattern, image] of [
    ['r.example/app', 'r.example/app'],
    ['r.example/**', 'r.example/a/b'],
    ['r.example/**/app', 'r.example/app'],
    ['r.example/**/app', 'r.example/a/app'],
    ['docker.io/nginx', 'docker.io/library/nginx'],
    ['nginx', 'docker.io/library/nginx'],
    ['r.example/app:1', 'r.example/app'],
    [`r.example/app@${digest}`, 'r.example/app'],
    [`r.example/${'**/'.repeat(9)}app`, 'r.example/app'],
  ] as const) {
    const { text } = exportClusterImagePolicies({ ...policy, rules: [{ ...rule, images: [pattern] }] });
    assert.ok(
      globsOf(text).some((glob) => globMatchesName(glob, `${image}@${digest}`)),
      `${pattern} applies to ${image}: ${text}`,
    );
  }
  const accepting = (pattern: string): string =>
    exportClusterImagePolicies({
      ...policy,
      rules: [{ ...plain, images: [pattern], allowUnverified: true }],
    }).text;
  assert.match(accepting('r.example/app/**'), /action: pass/);
  for (const open of ['r.example/app', 'r.example/app:1']) assert.match(accepting(open), /action: fail/);
});

test('an exported rule for every image admits nothing by another name of a registry that is refused', async () => {
  const { policy } = await imported('cluster-image-policy', key);
  const [rule] = policy.rules;
  assert.ok(rule);
  const { require: _, ...plain } = rule;
  const open = { ...plain, images: ['**'], allowUnverified: true };
  const named = (
    images: readonly string[],
    ...others: readonly TrustRule[]
  ): ReturnType<typeof exportClusterImagePolicies> =>
    exportClusterImagePolicies({ ...policy, rules: [{ ...rule, images }, ...others] });
  const all = named(['r.example/app/**', 'busybox:1'], open);
  const fails = /name: portcullis-other-names[^]*glob: r\.example:443\/app\/\*\*[^]*action: fail/;
  assert.match(all.text, fails);
  assert.match(all.text, /glob: registry-1\.docker\.io\/library\/busybox\*\n/);
  assert.match(all.unmapped.map(({ became }) => became).join(), /r\.example:443\/app\/\*\*.* fail/);
  assert.doesNotMatch(named(['r.example/app/**']).text, /other-names/);
  assert.doesNotMatch(named(['*.example/**']).text, /other-names/);
  assert.doesNotMatch(named(['r.example/a', 'r.example:443/a', 'r.example:80/a']).text, /other-names/);
});

test('a document whose apiVersion is not a string is not read as a ClusterImagePolicy', async () => {
  const text = key.replace(/^apiVersion: .*$/mu, 'apiVersion: { toString: x }');
  await assert.rejects(imported('cluster-image-policy', text), isPortcullisError);
});

test('fuzzed documents give an error with a position, or rules that load', async () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom('x', '', '**', 7, null, true, '\u0000', 'ghcr.io/a'),
      fc.array(tie('any'), { maxLength: 3 }),
      tie('record'),
    ),
    record: fc.dictionary(
      fc.constantFrom(
        'images',
        'glob',
        'authorities',
        'key',
        'data',
        'keyless',
        'identities',
        'issuer',
        'subject',
        'subjectRegExp',
        'static',
        'action',
        'ctlog',
        'mode',
        'match',
        'attestations',
        'predicateType',
        'name',
      ),
      tie('any'),
      { maxKeys: 4 },
    ),
  })).record;
  await fc.assert(
    fc.asyncProperty(value, async (spec) => {
      try {
        await imported(
          'cluster-image-policy',
          JSON.stringify({ apiVersion: 'policy.sigstore.dev/v1beta1', kind: 'ClusterImagePolicy', spec }),
        );
      } catch (error) {
        assert.ok(isPortcullisError(error) && /:\d+:\d+/.test(error.message), String(error));
      }
    }),
    fuzzing(11, 150),
  );
});
