import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../../evidence/fixtures/fuzzing.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { matchRules } from '../../policy/matching.ts';
import { parseImagePattern, patternMatches } from '../../requirements/image-pattern.ts';
import { normaliseReference } from '../../requirements/named-images.ts';
import { imported, keyText } from '../imported-policy.fixture.ts';
import { patternsOfReference } from './image-reference.ts';

const policyOf = (verify: string, rule = '', spec = ''): string => `apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: { name: p }
spec:
  validationFailureAction: Enforce
${spec}  rules:
    - name: r
${rule}      verifyImages:
        - imageReferences: [ "ghcr.io/org/*" ]
${verify}`;
const keys = (more = ''): string => `          attestors:
            - entries:
                - keys:
                    publicKeys: |-
${keyText(22)}
${more}`;
const keyless = (more: string): string => `          attestors:
            - entries:
                - keyless: { issuer: "https://token.example", ${more} }
`;

/** From Kyverno's documentation of verifyImages rules. */
const table: readonly (readonly [what: string, text: string, rules: RegExp, unmapped: readonly RegExp[]])[] =
  [
    [
      'a key, with the public log',
      policyOf(keys()),
      /"images":\["ghcr\.io\/org\/\*\*"\],"require":\{"cosign":\{"key":"keys\/p-r\.pub","log":true\}\}/,
      [],
    ],
    [
      'a rule that verifies no signature',
      `apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: { name: registries }
spec:
  rules:
    - name: r
      match: { any: [{ resources: { kinds: [Pod] } }] }
      validate: { message: m, pattern: { spec: { containers: [{ image: 'ghcr.io/*' }] } } }
`,
      /^\[\]$/,
      [/`validate` has no counterpart, because it verifies no signature/],
    ],
    [
      'a key without the log',
      policyOf(keys('                    rekor: { ignoreTlog: true, url: "" }\n')),
      /"cosign":\{"key":"keys\/p-r\.pub"\}/,
      [],
    ],
    [
      'another log',
      policyOf(keys('                    rekor: { url: "https://r.example" }\n')),
      /"deny"/,
      [/a log other than the public one/],
    ],
    [
      'a key in a secret',
      policyOf(keys('                    secret: { name: a, namespace: b }\n')),
      /"deny"/,
      [/in a secret/],
    ],
    [
      'another algorithm',
      policyOf(keys('                    signatureAlgorithm: sha512\n')),
      /"deny"/,
      [/only sha256/],
    ],
    [
      'an identity, whose * crosses slashes',
      policyOf(keyless('subject: "https://github.com/org/*"')),
      /"subject":"https:\/\/github\.com\/org\/\*\*"/,
      [],
    ],
    ['an identity by expression', policyOf(keyless('subjectRegExp: "^a$"')), /"subject":"a"/, []],
    [
      'an issuer and an expression for the issuer',
      policyOf(keyless('subject: "a", issuerRegExp: "^https://other[.]example$"')),
      /"deny"/,
      [/given twice/],
    ],
    ['anybody', policyOf(keyless('subject: "*"')), /"deny"/, [/no particular signer/]],
    ['an identity with ?', policyOf(keyless('subject: "a?c"')), /"deny"/, [/no particular signer/]],
    [
      'additional extensions',
      policyOf(keyless('subject: "a", additionalExtensions: { x: y }')),
      /"deny"/,
      [/additionalExtensions/],
    ],
    ['own roots', policyOf(keyless('subject: "a", roots: "x"')), /"deny"/, [/roots/]],
    [
      'annotations',
      policyOf(`          annotations: { env: prod }\n${keys()}`),
      /"annotations":\{"env":"prod"\}/,
      [],
    ],
    [
      'two keys in one entry, one of them needed',
      policyOf(`          attestors:
            - count: 1
              entries:
                - keys:
                    publicKeys: |-
${keyText(22)}
${keyText(22, 'rsa-2048')}
`),
      /"threshold":\{"count":1,"of":\[\{"cosign"[^[]*\{"cosign"/,
      [],
    ],
    [
      'two keys in one entry of an attestation, of which Kyverno reads the first',
      policyOf(`          attestations:
            - type: "https://slsa.dev/provenance/v1"
              attestors:
                - count: 1
                  entries:
                    - keys:
                        publicKeys: |-
${keyText(26)}
${keyText(26, 'rsa-2048')}
`),
      /"deny"/,
      [/attestations\[0\]\.attestors.*2 keys, and only the first/],
    ],
    [
      'a count that is not possible',
      policyOf(keys().replace('- entries', '- count: 3\n              entries')),
      /"deny"/,
      [/does not match its entries/],
    ],
    [
      'a certificate for cosign',
      policyOf('          attestors: [ { entries: [ { certificates: { cert: x } } ] } ]\n'),
      /"deny"/,
      [/certificate as signer/],
    ],
    ['no attestor', policyOf(''), /"deny"/, [/names no attestor/]],
    ['audit', policyOf(keys()).replace('Enforce', 'Audit'), /"mode":"report"/, []],
    [
      'audit, which is the default',
      policyOf(keys()).replace('  validationFailureAction: Enforce\n', ''),
      /"mode":"report"/,
      [],
    ],
    [
      'a failure action of its own',
      policyOf(`          failureAction: Enforce\n${keys()}`).replace('Enforce', 'Audit'),
      /"cosign":\{[^}]*\}\}\}\]$/,
      [],
    ],
    [
      'namespaces',
      policyOf(keys(), '      match: { any: [ { resources: { kinds: [Pod], namespaces: [pay-*] } } ] }\n'),
      /"namespaces":\["pay-\*"\]/,
      [],
    ],
    [
      'a selector',
      policyOf(keys(), '      match: { any: [ { resources: { kinds: [Pod], selector: { a: b } } } ] }\n'),
      /"images":\["ghcr\.io\/org\/\*\*"\],"require"/,
      [/selection by selector/],
    ],
    [
      'namespaces in a form that only Kyverno has',
      policyOf(
        keys(),
        '      match: { any: [ { resources: { kinds: [Pod], namespaces: ["pay-?", "!x"] } } ] }\n',
      ),
      /"images":\["ghcr\.io\/org\/\*\*"\],"require"/,
      [/selection by namespaces in this form/],
    ],
    [
      'several filters that all select',
      policyOf(
        keys(),
        '      match: { all: [ { resources: { kinds: [Pod] } }, { resources: { namespaces: [x] } } ] }\n',
      ),
      /"images":\["ghcr\.io\/org\/\*\*"\],"require"/,
      [/selection by several filters/],
    ],
    [
      'a selection in the policy of one namespace',
      policyOf(keys(), '      preconditions: { all: [] }\n')
        .replace('kind: ClusterPolicy', 'kind: Policy')
        .replace(/name: p\b/u, 'name: p, namespace: team'),
      /"namespaces":\["team"\],"require"/,
      [/`preconditions` has no counterpart/],
    ],
    [
      'an exclusion',
      policyOf(keys(), '      exclude: { any: [ { resources: { namespaces: [x] } } ] }\n'),
      /"require"/,
      [/`exclude` has no counterpart/],
    ],
    [
      'a skipped image',
      policyOf(`          skipImageReferences: [ "ghcr.io/org/dev/*" ]\n${keys()}`),
      /"except":\["ghcr\.io\/org\/dev\/\*\*"\]/,
      [],
    ],
    [
      'a skipped image without a tag, which Kyverno skips for no tag',
      policyOf(`          skipImageReferences: [ "ghcr.io/org/app" ]\n${keys()}`),
      /"images":\["ghcr\.io\/org\/\*\*"\],"require"/,
      [/no pattern matches exactly/],
    ],
    [
      'a skipped image with any tag',
      policyOf(`          skipImageReferences: [ "ghcr.io/org/app:*" ]\n${keys()}`),
      /"except":\["ghcr\.io\/org\/app:\*"\]/,
      [],
    ],
    ...['nginx:*', 'docker.io/nginx:*', 'docker.io/library/nginx:*', '*/library/nginx:*'].map(
      (skipped) =>
        [
          `the skipped image ${skipped}, which is not all of one repository for Kyverno`,
          policyOf(`          skipImageReferences: [ "${skipped}" ]\n${keys()}`),
          /"images":\["ghcr\.io\/org\/\*\*"\],"require"/,
          [/no pattern matches exactly/],
        ] as const,
    ),
    [
      'a skipped image without an exact pattern',
      policyOf(`          skipImageReferences: [ "ghcr.io/org-*/x" ]\n${keys()}`),
      /"images":\["ghcr\.io\/org\/\*\*"\],"require"/,
      [/not skipped|exactly/],
    ],
    [
      'an attestation',
      policyOf(`          attestations: [ { type: "https://slsa.dev/provenance/v1" } ]\n${keys()}`),
      /"attestation":\{"type":"https:\/\/slsa\.dev\/provenance\/v1","by":\{"cosign"/,
      [],
    ],
    [
      'an attestation with a signer of its own, beside a signer of the image',
      policyOf(
        `          attestations: [ { type: "https://slsa.dev/provenance/v1", attestors: [ { entries: [ { keyless: { issuer: i, subject: s } } ] } ] } ]\n${keys()}`,
      ),
      /"require":\{"all":\[\{"cosign":[^[]*\{"attestation":\{"type":"https:\/\/slsa\.dev\/provenance\/v1","by":\{"sigstore"/,
      [],
    ],
    [
      'conditions',
      policyOf(
        `          attestations: [ { type: "https://slsa.dev/provenance/v1", conditions: [ { all: [] } ] } ]\n${keys()}`,
      ),
      /"deny"/,
      [/conditions/],
    ],
    ['an unknown type', policyOf(`          type: Other\n${keys()}`), /"deny"/, [/type of signature/]],
    [
      'another repository of signatures',
      policyOf(`          repository: x\n${keys()}`),
      /"deny"/,
      [/`repository`/],
    ],
    ['the form before attestors', policyOf('          key: x\n'), /"deny"/, [/`key` has no counterpart/]],
    [
      'an ImageValidatingPolicy that requires nothing',
      'apiVersion: policies.kyverno.io/v1\nkind: ImageValidatingPolicy\nmetadata: { name: p }\nspec: { matchImageReferences: [ { glob: "ghcr.io/*" } ] }\n',
      /"images":\["ghcr\.io\/\*\*"\],"deny"/,
      [/it has no validations/],
    ],
  ];

for (const [what, text, rules, unmapped] of table) {
  test(what, async () => {
    const { result } = await imported('kyverno', text);
    assert.match(JSON.stringify(result.rules.map(({ rule }) => rule)), rules);
    assert.equal(result.unmapped.length, unmapped.length, JSON.stringify(result.unmapped));
    for (const [index, pattern] of unmapped.entries())
      assert.match(`${result.unmapped[index]?.path ?? ''} ${result.unmapped[index]?.why ?? ''}`, pattern);
  });
}

/** The name that Kyverno compares with patterns (GetImageInfo in Kyverno's infos.go). */
function kyvernoName(reference: string): string {
  const [first = ''] = reference.split('/');
  const isNamed = reference.includes('/') && (/[.:]/u.test(first) || first === 'localhost');
  const [name = '', digest] = (isNamed ? reference : `docker.io/${reference}`).split('@');
  const tagged = name.includes(':', name.lastIndexOf('/'));
  if (digest === undefined) return tagged ? name : `${name}:latest`;
  return `${tagged ? name.slice(0, name.lastIndexOf(':')) : name}@${digest}`;
}

test('a converted pattern matches at least the references of Kyverno’s pattern', () => {
  const host = fc.constantFrom('ghcr.io', '*', 'docker.io', '*.io', 'ghcr.io:5000', 'ghcr.io*');
  const piece = fc.constantFrom('a', 'b', '*', 'a*', '?', '*a', 'library', 'lib*');
  const end = fc.constantFrom(
    '',
    '',
    ':*',
    ':1',
    ':a*',
    ':1*',
    ':?',
    '@*',
    '@sha256:a*',
    `@${digestOf('a')}`,
  );
  const registry = fc.constantFrom('ghcr.io/', 'ghcr.io:5000/', '', 'docker.io/', 'localhost/');
  const segment = fc.constantFrom('a', 'b', 'ab', 'aa', 'library');
  const suffix = fc.constantFrom('', ':1', ':ab', `@${digestOf('a')}`, `:1@${digestOf('1')}`);
  const list = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { minLength: 1, maxLength: 3 });
  const texts = fc
    .tuple(host, list(piece), end)
    .map(([first, path, last]) => `${[first, ...path].join('/')}${last}`);
  const references = fc
    .tuple(registry, list(segment), suffix)
    .map(([first, path, last]) => `${first}${path.join('/')}${last}`);
  fc.assert(
    fc.property(texts, references, (text, reference) => {
      const source = text.replaceAll('.', '\\.').replaceAll('*', '.*').replaceAll('?', '.');
      const matches = new RegExp(`^${source}$`, 'u').test(kyvernoName(reference));
      const { patterns, exact } = patternsOfReference(text);
      const named = normaliseReference(reference);
      const ours = patterns.some((pattern) => patternMatches(parseImagePattern(pattern), named));
      assert.ok(exact ? ours === matches : ours || !matches, `${text} as ${patterns.join()}: ${reference}`);
    }),
    fuzzing(2, 5000),
  );
});

const digestOf = (digit: string): string => `sha256:${digit.repeat(64)}`;

test('a star before a colon matches references with digests too', async () => {
  const text = policyOf(keys()).replace('ghcr.io/org/*', 'ghcr.io/org/*:*');
  const { result, policy } = await imported('kyverno', text);
  assert.deepEqual(result.unmapped, []);
  for (const end of [':1', `@${digestOf('a')}`])
    assert.equal(
      matchRules(policy, normaliseReference(`ghcr.io/org/app${end}`), '').requiring.length,
      1,
      end,
    );
});

test('a pattern for any registry does not match a name of a registry', () => {
  for (const text of ['*/web*', '*/web/*', '*/web:1', '*/w?b*']) {
    const { patterns, exact } = patternsOfReference(text);
    const matches = (registry: string, repository: string): boolean =>
      patterns.some((one) => patternMatches(parseImagePattern(one), { registry, repository, tag: '1' }));
    assert.ok(matches('ghcr.io', text === '*/web/*' ? 'web/app' : 'web'), text);
    assert.ok(matches('localhost:5000', text === '*/web/*' ? 'a/web/app' : 'a/b/web'), text);
    if (exact) assert.ok(!matches('web.example.com', 'app'), text);
  }
});

test('a skipped reference whose host has another form than in references is not excepted', async () => {
  for (const host of ['GHCR.io', 'ghcr.io:0443']) {
    const text = policyOf(`          skipImageReferences: [ "${host}/org/web*" ]\n${keys()}`);
    const { result } = await imported('kyverno', text);
    assert.equal(result.rules[0]?.rule.except, undefined);
    assert.match(result.unmapped[0]?.path ?? '', /skipImageReferences/u);
  }
});

test('a pattern with a star at the end of a name is converted exactly', async () => {
  const text = policyOf(keys()).replace('ghcr.io/org/*', 'ghcr.io/org/web*');
  const { result } = await imported('kyverno', text);
  assert.deepEqual(result.rules[0]?.rule.images, ['ghcr.io/org/web*', 'ghcr.io/org/web*/**']);
  assert.deepEqual(result.unmapped, []);
});

test('a pattern that matches more than that of Kyverno is listed, and the rule stays', async () => {
  const text = policyOf(keys()).replace('ghcr.io/org/*', 'ghcr.io/org/*-web');
  const { result } = await imported('kyverno', text);
  assert.deepEqual(result.rules[0]?.rule.images, ['ghcr.io/org/**']);
  assert.ok(result.rules[0].rule.require !== undefined);
  assert.deepEqual(
    result.unmapped.map(({ path, became }) => [path, became]),
    [
      [
        'spec.rules[0].verifyImages[0].imageReferences[0]',
        'the rule also applies to the other images of ghcr.io/org/**',
      ],
    ],
  );
});

test('a policy without a rule that verifies images is listed', async () => {
  for (const spec of ['{}', '{ rules: [] }', '{ rules: [{ name: a, match: {} }] }']) {
    const text = `apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: { name: p }\nspec: ${spec}\n`;
    const { result } = await imported('kyverno', text);
    assert.deepEqual(result.rules, []);
    assert.deepEqual(
      result.unmapped.map(({ path, line }) => [path, line]),
      [['spec', 4]],
    );
  }
});

test('fields that must be texts and are not are no errors of the program', async () => {
  const other = '{ toString: x }';
  const skipping = `${keys()}          skipImageReferences: [${other}]\n`;
  const { result } = await imported('kyverno', policyOf(skipping).replace('"ghcr.io/org/*"', other));
  assert.deepEqual(result.rules[0]?.rule.images, ['**'], 'all images');
  assert.equal(result.rules[0].rule.except, undefined, 'none is skipped');
  assert.match(result.unmapped[0]?.path ?? '', /skipImageReferences\[0\]$/u);
  for (const field of ['apiVersion', 'kind']) {
    const text = policyOf(keys()).replace(new RegExp(`^${field}: .*$`, 'mu'), `${field}: ${other}`);
    await assert.rejects(imported('kyverno', text), isPortcullisError);
  }
});

test('a private key beside a certificate denies the images, and is in no file of the imported policy', async () => {
  const pem = ['CERTIFICATE', 'PRIVATE KEY']
    .map((type) => `-----BEGIN ${type}-----\nAAAA\n-----END ${type}-----\n`)
    .join('');
  const entries = [{ certificates: { cert: pem } }];
  const verify = { imageReferences: ['ghcr.io/org/*'], type: 'Notary', attestors: [{ entries }] };
  const { result } = await imported(
    'kyverno',
    JSON.stringify({
      apiVersion: 'kyverno.io/v1',
      kind: 'ClusterPolicy',
      metadata: { name: 'p' },
      spec: { validationFailureAction: 'Enforce', rules: [{ name: 'r', verifyImages: [verify] }] },
    }),
  );
  assert.deepEqual(result.files, []);
  assert.match(result.unmapped.map(({ why }) => why).join(), /private key/u);
});

test('fuzzed documents give an error with a position, or rules that load', async () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom('x', '', '*', 7, null, true, 'ghcr.io/a'),
      fc.array(tie('any'), { maxLength: 3 }),
      tie('record'),
    ),
    record: fc.dictionary(
      fc.constantFrom(
        'imageReferences',
        'attestors',
        'entries',
        'count',
        'keys',
        'publicKeys',
        'keyless',
        'issuer',
        'subject',
        'attestations',
        'type',
        'rekor',
        'annotations',
        'attestor',
      ),
      tie('any'),
      { maxKeys: 4 },
    ),
  })).record;
  await fc.assert(
    fc.asyncProperty(value, async (verify) => {
      try {
        await imported(
          'kyverno',
          JSON.stringify({
            apiVersion: 'kyverno.io/v1',
            kind: 'ClusterPolicy',
            spec: { rules: [{ verifyImages: [verify] }] },
          }),
        );
      } catch (error) {
        assert.ok(isPortcullisError(error) && /:\d+:\d+/.test(error.message), String(error));
      }
    }),
    fuzzing(13, 150),
  );
});
