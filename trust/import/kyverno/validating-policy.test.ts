import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../../evidence/fixtures/fuzzing.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { matchRules } from '../../policy/matching.ts';
import { normaliseReference } from '../../requirements/named-images.ts';
import { imported, keyText } from '../imported-policy.fixture.ts';

const signatures = (attestors: string, after: string): string =>
  `images.containers.map(image, verifyImageSignatures(image, [${attestors}])).all(e, e ${after})`;

const certificate = ((): string => {
  const args = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    '/dev/null',
    '-subj',
    '/C=US/ST=WA/O=x/CN=n',
    '-days',
    '30',
  ];
  const pem = spawnSync('openssl', args, { encoding: 'utf8' }).stdout;
  return pem.trimEnd().replaceAll(/^/gm, ' '.repeat(12));
})();

/** Based on Kyverno's documentation of ImageValidatingPolicy. */
function policyOf(expressions: readonly string[], { spec = '', key = '', keyless = '' } = {}): string {
  return `apiVersion: policies.kyverno.io/v1alpha1
kind: ImageValidatingPolicy
metadata: { name: check-images }
spec:
  matchConstraints:
    resourceRules:
      - { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"] }
  matchImageReferences:
    - glob: ghcr.io/org/*
${spec}  attestors:
    - name: notary
      notary:
        certs:
          value: |-
${certificate}
    - name: cosign
      cosign:
        key:
          data: |-
${keyText(12)}
${key}    - name: other
      cosign:
        key:
          data: |-
${keyText(12, 'rsa-2048')}
        ctlog: { insecureIgnoreTlog: true }
    - name: keyless
      cosign:
        keyless:
          identities:
            - { issuer: "https://token.example", subject: "https://github.com/org/app" }
            - { issuer: "https://token.example", subjectRegExp: "^release@example\\\\.com$" }
${keyless}    - name: managed
      cosign: { key: { kms: "awskms:///x" } }
  attestations:
    - { name: sbom, intoto: { type: "https://cyclonedx.org/bom" } }
    - { name: old, referrer: { type: sbom/cyclone-dx } }
  validations:
${expressions.map((one) => `    - expression: >-\n        ${one}\n      message: no`).join('\n')}
`;
}

const cosign = '\\{"cosign":\\{"key":"keys/check-images-cosign\\.pub","log":true\\}\\}';
const other = '\\{"cosign":\\{"key":"keys/check-images-other\\.pub"\\}\\}';
const table: readonly (readonly [
  what: string,
  text: () => string,
  rules: string,
  unmapped: readonly RegExp[],
])[] = [
  [
    'a key',
    () => policyOf([signatures('attestors.cosign', '> 0')]),
    `"images":\\["ghcr\\.io/org/\\*\\*"\\],"require":${cosign}\\}`,
    [],
  ],
  [
    'two keys, of which Kyverno reads the first',
    () => policyOf([signatures('attestors.cosign', '> 0')], { key: `${keyText(12, 'rsa-2048')}\n` }),
    '"deny"',
    [/2 keys, and only the first/],
  ],
  [
    'any of two',
    () => policyOf([signatures('attestors.cosign, attestors.other', '> 0')]),
    `"require":\\{"any":\\[${cosign},${other}\\]\\}`,
    [],
  ],
  [
    'both of two',
    () => policyOf([signatures('attestors.cosign, attestors.other', '== 2')]),
    `"require":\\{"all":\\[${cosign},${other}\\]\\}`,
    [],
  ],
  [
    'two of three',
    () => policyOf([signatures('attestors.cosign, attestors.other, attestors.notary', '>= 2')]),
    `"require":\\{"threshold":\\{"count":2,"of":\\[${cosign},${other},\\{"notation"`,
    [],
  ],
  [
    'notation',
    () => policyOf([signatures('attestors.notary', '> 0')]),
    '"notation":\\{"certificates":\\{"ca":\\["certificates/check-images-notary\\.crt"',
    [],
  ],
  [
    'identities',
    () => policyOf([signatures('attestors.keyless', '> 0')]),
    '"any":\\[\\{"sigstore":\\{"issuer":"https://token\\.example","subject":"https://github\\.com/org/app"\\}\\},\\{"sigstore":\\{[^}]*"subject":"release@example\\.com"',
    [],
  ],
  [
    'a signature and an attestation',
    () =>
      policyOf([
        signatures('attestors.cosign', '> 0'),
        'images.containers.map(image,\n          verifyAttestationSignatures(image, attestations.sbom ,[attestors.cosign])).all(e, e > 0)',
      ]),
    `"all":\\[${cosign},\\{"attestation":\\{"type":"https://cyclonedx\\.org/bom","by":${cosign}`,
    [],
  ],
  [
    'only warning',
    () => policyOf([signatures('attestors.cosign', '> 0')], { spec: '  validationActions: [Warn]\n' }),
    '"mode":"report"',
    [],
  ],
  [
    'denying and warning',
    () => policyOf([signatures('attestors.cosign', '> 0')], { spec: '  validationActions: [Deny, Warn]\n' }),
    `${cosign}\\}\\]$`,
    [],
  ],
  [
    'a condition on pods',
    () =>
      policyOf([signatures('attestors.cosign', '> 0')], {
        spec: '  matchConditions: [ { name: x, expression: "true" } ]\n',
      }),
    `"require":${cosign}`,
    [/matchConditions/],
  ],
  [
    'exactly one of two',
    () => policyOf([signatures('attestors.cosign, attestors.other', '== 1')]),
    '"deny"',
    [/"== 1" of 2 attestors/],
  ],
  ['none at least', () => policyOf([signatures('attestors.cosign', '>= 0')]), '"deny"', [/">= 0" of 1/]],
  ['more than there are', () => policyOf([signatures('attestors.cosign', '> 1')]), '"deny"', [/"> 1" of 1/]],
  [
    'the same twice',
    () => policyOf([signatures('attestors.cosign, attestors.cosign', '> 0')]),
    '"deny"',
    [/of 2 attestors/],
  ],
  ['nobody known', () => policyOf([signatures('attestors.nobody', '> 0')]), '"deny"', [/no attestor nobody/]],
  ['a key in a KMS', () => policyOf([signatures('attestors.managed', '> 0')]), '"deny"', [/secret or a KMS/]],
  [
    'existence instead of all',
    () => policyOf([signatures('attestors.cosign', '> 0').replace('.all(', '.exists(')]),
    '"deny"',
    [/only expressions that count/],
  ],
  [
    'another expression beside it',
    () => policyOf([signatures('attestors.cosign', '> 0'), 'object.spec.x == 1']),
    '"deny"',
    [/only expressions/],
  ],
  [
    'a payload',
    () =>
      policyOf([
        "images.containers.map(image, extractPayload(image, attestations.sbom).bomFormat == 'CycloneDX').all(e, e)",
      ]),
    '"deny"',
    [/only expressions/],
  ],
  [
    'an attestation of notation',
    () =>
      policyOf([
        'images.containers.map(i, verifyAttestationSignatures(i, attestations.sbom, [attestors.notary])).all(e, e > 0)',
      ]),
    '"deny"',
    [/signed by notation/],
  ],
  [
    'an attestation that is a referrer',
    () =>
      policyOf([
        'images.containers.map(i, verifyAttestationSignatures(i, attestations.old, [attestors.cosign])).all(e, e > 0)',
      ]),
    '"deny"',
    [/old is not an in-toto/],
  ],
  [
    'another log',
    () =>
      policyOf([signatures('attestors.cosign', '> 0')], {
        key: '        ctlog: { url: "https://r.example" }\n',
      }),
    '"deny"',
    [/a log other than the public one/],
  ],
  [
    'a subject that contains *, which matches no identity in Kyverno',
    () =>
      policyOf([signatures('attestors.keyless', '> 0')], {
        keyless: '            - { issuer: "https://token.example", subject: "https://github.com/other/*" }\n',
      }),
    '"deny"',
    [/literal \*/],
  ],
  [
    'custom roots',
    () => policyOf([signatures('attestors.keyless', '> 0')], { keyless: '          roots: x\n' }),
    '"deny"',
    [/`roots`/, /`roots`/],
  ],
];

for (const [what, text, rules, unmapped] of table) {
  test(`an ImageValidatingPolicy: ${what}`, async () => {
    const { result } = await imported('kyverno', text());
    assert.match(JSON.stringify(result.rules.map(({ rule }) => rule)), new RegExp(rules));
    assert.equal(result.unmapped.length, unmapped.length, JSON.stringify(result.unmapped));
    for (const [index, pattern] of unmapped.entries())
      assert.match(`${result.unmapped[index]?.path ?? ''} ${result.unmapped[index]?.why ?? ''}`, pattern);
  });
}

test('no generated ImageValidatingPolicy admits an image without a requirement', async () => {
  const expression = fc
    .array(
      fc.constantFrom(
        'images.containers',
        '.map(i,',
        'verifyImageSignatures(i,',
        '[attestors.a]',
        '[]',
        '))',
        '.all(e,',
        'e>0)',
        'e>=0)',
        '||true',
        '&&',
      ),
      { maxLength: 9 },
    )
    .map((parts) => parts.join(''));
  const attestor = fc.record({
    name: fc.constantFrom('a', 'b'),
    cosign: fc.oneof(fc.jsonValue(), fc.record({ key: fc.jsonValue() })),
  });
  const spec = fc.record({
    validations: fc.array(fc.record({ expression })),
    attestors: fc.array(attestor),
    attestations: fc.jsonValue(),
  });
  await fc.assert(
    fc.asyncProperty(spec, async (value) => {
      try {
        const document = { apiVersion: 'policies.kyverno.io/v1', kind: 'ImageValidatingPolicy', spec: value };
        const { result } = await imported('kyverno', JSON.stringify(document));
        assert.ok(result.rules.every(({ rule }) => 'deny' in rule));
      } catch (error) {
        assert.ok(isPortcullisError(error) && /:\d+:\d+/.test(error.message), String(error));
      }
    }),
    fuzzing(14, 150),
  );
});

test('a glob with a tag also applies to references with that tag and a digest, as they are written', async () => {
  const one = policyOf([signatures('attestors.cosign', '> 0')]);
  const named = `ghcr.io/org/app:v1@sha256:${'a'.repeat(64)}`;
  for (const glob of [
    ...['ghcr.io/org/app:v*', 'ghcr.io/org/*:v*', 'ghcr.io/org/app:*', '*/org/app:v?*'],
    ...['ghcr.io/org/app:v1@sha256:*', '*/org/app:v1@*'],
  ]) {
    const { policy } = await imported('kyverno', one.replace('glob: ghcr.io/org/*', `glob: "${glob}"`));
    assert.equal(matchRules(policy, normaliseReference(named), '').requiring.length, 1, glob);
  }
});

test('a glob without a slash also applies to registries with a port', async () => {
  const one = policyOf([signatures('attestors.cosign', '> 0')]);
  const { policy } = await imported('kyverno', one.replace('glob: ghcr.io/org/*', 'glob: "mirror:5*"'));
  assert.equal(matchRules(policy, normaliseReference('mirror:5000/app:1'), '').requiring.length, 1);
});
