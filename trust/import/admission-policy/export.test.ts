import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseDocuments } from '../../../base/schema/index.ts';
import { keyRequirement, policyOf } from '../../evidence/fixtures/fixture-image.ts';
import { parseImagePattern, patternMatches } from '../../requirements/image-pattern.ts';
import { normaliseReference, otherNames } from '../../requirements/named-images.ts';
import { exportAdmissionPolicies } from './export.ts';
import { celText, patternExpression } from './pattern-expression.ts';

interface Exported {
  readonly kind: string;
  readonly spec: {
    readonly matchConstraints?: { readonly namespaceSelector?: object };
    readonly validations?: readonly { readonly expression: string; readonly message: string }[];
  };
}
const objectsOf = (text: string): readonly Exported[] =>
  parseDocuments(text, 'vap.yaml').documents.map(({ value }) => value as Exported);

test('rules that need no evidence are exported, and the others are listed', () => {
  const { images, digests, unmapped } = exportAdmissionPolicies(
    policyOf(
      { images: ['**/old'], deny: "it's\nold" },
      { images: ['a.example/**'], require: keyRequirement('ecdsa-p256') },
      { images: ['b.example/**'], allowUnverified: true, namespaces: ['shop*'] },
      { images: ['c.example/**'], deny: 'x', mode: 'report' },
    ),
  );
  const [policy, binding] = objectsOf(images);
  assert.deepEqual(
    [policy?.kind, binding?.kind],
    ['ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding'],
  );
  const validations = policy?.spec.validations ?? [];
  assert.equal(validations.length, 3);
  assert.equal(validations[0]?.message, "rule policy.yaml:1 (**/old) denies: it's old");
  assert.ok(validations[1]?.expression.includes("request.namespace.matches('^shop.*$')"));
  // That no second text for an address or a port evades a rule, test/webhook/suite.ts shows.
  assert.match(validations[2]?.message ?? '', /address that is not written in its usual form/u);
  assert.deepEqual(
    unmapped.map(({ file, line, why }) => [file, line, why.split(',')[0]]),
    [
      ['policy.yaml', 2, 'the rule requires evidence'],
      ['policy.yaml', 4, 'the rule only reports'],
    ],
  );
  assert.match(objectsOf(digests)[0]?.spec.validations?.[0]?.expression ?? '', /i\.digest != ''/);
});

test('a denied digest is listed, because the API server does not know where tags lead', () => {
  const pattern = `quay.io/app@sha256:${'0'.repeat(64)}`;
  const { images, unmapped } = exportAdmissionPolicies(policyOf({ images: [pattern], deny: 'bad' }));
  assert.match(objectsOf(images)[0]?.spec.validations?.[0]?.expression ?? '', /i\.digest == 'sha256:0/);
  assert.deepEqual(
    unmapped.map(({ line, became }) => [line, became]),
    [[1, 'the API server denies only references by this digest']],
  );
});

test('the namespace of the webhook is left out, as the webhook leaves it out', () => {
  const { images, digests } = exportAdmissionPolicies(policyOf({ deny: 'x' }));
  const { webhooks } = parseDocuments(
    readFileSync('packaging/kubernetes/webhook/webhooks.yaml', 'utf8'),
    'webhooks.yaml',
  ).documents[1]?.value as { webhooks: { namespaceSelector: object }[] };
  for (const text of [images, digests])
    assert.deepEqual(
      objectsOf(text)[0]?.spec.matchConstraints?.namespaceSelector,
      webhooks[0]?.namespaceSelector,
    );
});

test('any text becomes one literal of CEL', () => {
  assert.equal(celText(String.raw`a'b\c`), String.raw`'a\'b\\c'`);
  assert.equal(celText('a\nb\u2028'), "'a b '");
});

test('the expression of a pattern matches the names that the pattern matches', () => {
  const patterns = [
    '**',
    '**/old',
    'quay.io/**',
    'quay.io/*/x',
    '*/x',
    'localhost:*/dev/**',
    'r.example:5000/a*b',
    'busybox',
    'a/**/z',
    '[fd00::1]:*/x',
    '*:*/x',
    'r.*/x',
  ];
  const images = [
    ...[
      'busybox',
      'x/old',
      'quay.io/old',
      'quay.io/a/x',
      'quay.io/a/b/x',
      'r.example/x',
      'localhost:5000/dev/a/b',
    ],
    ...[
      'localhost/dev/a',
      'r.example:5000/ab',
      'r.example:5000/a-b',
      'r.example:5000/a/b',
      'a/z',
      'a/b/z',
      'docker.io/a/b/c/z',
      'quayxio/a',
      '[fd00::1]:5000/x',
      'r.example:5000/x',
    ],
  ];
  for (const pattern of patterns) {
    const expression = /^i\.repository\.matches\('(.*)'\)$/u.exec(patternExpression(pattern))?.[1] ?? '(';
    for (const image of images) {
      const reference = normaliseReference(image);
      const name = `${reference.registry}/${reference.repository}`;
      assert.equal(
        new RegExp(expression).test(name),
        patternMatches(parseImagePattern(pattern), reference),
        `${pattern} ${name}`,
      );
    }
  }
});

test('the expression of a rule that denies matches the other names of a registry', () => {
  const patterns = [
    ...[
      'r.example/x',
      'r.example:443/x',
      'r.example:*/x',
      'r.example:5000/x',
      '*.example/x',
      '*:80/x',
      '*/x',
    ],
    ...['busybox', 'registry-1.docker.io/library/busybox', '*.docker.io/**', '[fd00::1]/x', '**/x'],
  ];
  const images = [
    ...['r.example/x', 'r.example:443/x', 'r.example:80/x', 'r.example:5000/x', 'other.test:443/x'],
    ...['busybox', 'docker.io:443/library/busybox', 'index.docker.io:80/library/busybox'],
    ...['registry-1.docker.io/library/busybox', 'docker.io:5000/library/busybox', '[fd00::1]:443/x'],
  ];
  for (const pattern of patterns) {
    const given = patternExpression(pattern, 'others');
    const expression = /^i\.repository\.matches\('(.*)'\)$/u.exec(given)?.[1] ?? '(';
    for (const image of images) {
      const reference = normaliseReference(image);
      const name = `${reference.registry}/${reference.repository}`;
      assert.equal(
        new RegExp(expression).test(name),
        [reference.registry, ...otherNames(reference.registry)].some((registry) =>
          patternMatches(parseImagePattern(pattern), { ...reference, registry }),
        ),
        `${pattern} ${name}`,
      );
    }
  }
  const { images: policies } = exportAdmissionPolicies(
    policyOf({ images: ['r.example/**'], except: ['r.example/x'], deny: 'no' }, { allowUnverified: true }),
  );
  const denial = objectsOf(policies)[0]?.spec.validations?.[0]?.expression ?? '';
  assert.ok(denial.includes(patternExpression('r.example/**', 'others')), denial);
});
