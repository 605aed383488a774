import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TrustPolicy, TrustRule } from '../requirements/types.ts';
import {
  exceptsItself,
  matchesAnyRegistry,
  ruleMatchesNamespace,
  ruleMatchesReference,
  shadowOf,
} from './coverage.ts';

function rule(images: readonly string[], more: Partial<TrustRule> = {}): TrustRule {
  const name = `p.yaml:${images.join()}`;
  return { name, images, allowUnverified: false, ceiling: { rule: name, ceiling: 'baseline' }, ...more };
}

const covered: readonly (readonly [string, string, boolean])[] = [
  ['a.test/**', 'a.test/app', true],
  ['a.test/**', 'a.test/pay/**', true],
  ['a.test/*', 'a.test/pay/**', false],
  ['**', 'a.test/**', true],
  ['a.test/**', '**', false],
  ['*.test/**', 'a.test/app', true],
  ['a.test:*/**', 'a.test:5000/app', true],
  ['a.test:5000/**', 'a.test:*/app', false],
  ['a.test/app', 'a.test/app:v1', true],
  ['a.test/app:v1', 'a.test/app', false],
  ['a.test/app:v*', 'a.test/app:v1*', true],
  ['busybox', 'docker.io/library/busybox', true],
  ['a.test/**/app', 'a.test/x/app', true],
  ['a.test/x/**', 'a.test/**/app', false],
];

for (const [outer, inner, expected] of covered)
  test(`${outer} ${expected ? 'covers' : 'does not cover'} ${inner}`, () => {
    assert.equal(exceptsItself(rule([inner], { except: [outer] })), expected);
  });

test('a rule is shadowed only by one that always decides', () => {
  const allow = rule(['a.test/app'], { allowUnverified: true });
  const shadowedBy = (other: TrustRule): boolean => {
    const policy: TrustPolicy = { revision: '', default: 'deny', rules: [allow, other] };
    return shadowOf(policy, allow) === other;
  };
  assert.equal(shadowedBy(rule(['a.test/**'])), true);
  assert.equal(shadowedBy(rule(['a.test/**'], { namespaces: ['shop'] })), false);
  assert.equal(shadowedBy(rule(['a.test/**'], { narrows: ['shop'] })), false);
  assert.equal(shadowedBy(rule(['a.test/**'], { except: ['a.test/app'] })), false);
  assert.equal(shadowedBy(rule(['a.test/**'], { mode: 'report' })), false);
  assert.equal(shadowedBy(rule(['a.test/**'], { allowUnverified: true })), false);
  assert.equal(shadowedBy(rule(['a.test/ap'])), false);
});

test('a requirement is shadowed by a denial, and not by another requirement: each rule that matches must admit', () => {
  const [demand, other, denial] = [
    rule(['a.test/app']),
    rule(['a.test/**']),
    rule(['a.test/**'], { deny: 'closed' }),
  ];
  assert.equal(shadowOf({ revision: '', default: 'deny', rules: [demand, other] }, demand), undefined);
  assert.equal(shadowOf({ revision: '', default: 'deny', rules: [demand, denial] }, demand), denial);
  assert.equal(shadowOf({ revision: '', default: 'deny', rules: [demand, denial] }, denial), undefined);
});

test('a pattern matches any registry when it names none', () => {
  for (const pattern of ['**', '*/**', '**/app']) assert.equal(matchesAnyRegistry(pattern), true);
  for (const pattern of ['a.test/**', 'busybox', 'localhost:*/dev/**', '*.example.com/**'])
    assert.equal(matchesAnyRegistry(pattern), false);
});

test('references are normalised, and a text that is not a reference matches nothing', () => {
  assert.equal(ruleMatchesReference(rule(['busybox']), 'docker.io/library/busybox:1'), true);
  assert.equal(ruleMatchesReference(rule(['**']), 'Not A Reference'), false);
  assert.equal(ruleMatchesNamespace(rule(['**'], { namespaces: ['team-*'] }), 'team-a'), true);
  assert.equal(ruleMatchesNamespace(rule(['**'], { namespaces: ['team-*'] }), 'shop'), false);
});

test('a pattern of many wildcards costs no more than some thousand comparisons', () => {
  const wide = rule([`${'**/x/'.repeat(100)}**`]);
  assert.equal(exceptsItself({ ...wide, except: ['**'] }), true);
});
