import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asksOrigin, blockedPrefix, ruleFor } from './name-rules.ts';

const nameOf = (text: string): { registry: string; repository: string } => {
  const slash = text.indexOf('/');
  return { registry: text.slice(0, slash), repository: text.slice(slash + 1) };
};
const prefixes = [
  'quay.io',
  'quay.io/team',
  'quay.io/team/app',
  'a.test:5000',
  '*.test',
  '*.deep.test',
  'b.test',
];

describe('the rule for a name', () => {
  const rules = new Map(prefixes.map((prefix) => [prefix, {}]));
  const table: readonly (readonly [name: string, prefix: string | undefined, rest?: string])[] = [
    ['quay.io/other/app', 'quay.io', 'other/app'],
    ['quay.io/team/app', 'quay.io/team/app', ''],
    ['quay.io/team/app/web', 'quay.io/team/app', 'web'],
    ['quay.io/team/other', 'quay.io/team', 'other'],
    ['quay.io/teams/app', 'quay.io', 'teams/app'],
    ['quay.io:443/team/app', undefined],
    ['a.test:5000/app', 'a.test:5000', 'app'],
    ['a.test/app', '*.test', 'app'],
    ['x.a.test:80/app', '*.test', 'app'],
    ['x.deep.test/app', '*.deep.test', 'app'],
    ['deep.test/app', '*.test', 'app'],
    ['b.test/app', 'b.test', 'app'],
    ['test/app', undefined],
    ['docker.io/library/quay.io', undefined],
  ];
  for (const [name, prefix, rest] of table)
    it(`${name}: ${prefix ?? 'none'}`, () => {
      const found = ruleFor(rules, nameOf(name));
      assert.deepEqual([found?.prefix, found?.rest], [prefix, rest]);
    });
});

describe('a blocked name', () => {
  const rules = new Map<string, { blocked?: boolean; origin?: boolean }>([
    ['evil.test', { blocked: true }],
    ['evil.test/good', {}],
    ['quay.io/team', { blocked: true }],
    ['*.bad.test', { blocked: true }],
    ['ok.bad.test', { blocked: false }],
    ['docker.io', { blocked: true }],
    ['mirrored.test', { origin: false }],
    ['*.evil.test', {}],
  ]);
  for (const [name, prefix] of [
    ['evil.test/app', 'evil.test'],
    ['evil.test:443/app', 'evil.test'],
    ['evil.test:5000/app', 'evil.test'],
    ['evil.test/good/app', undefined],
    ['a.evil.test/app', undefined],
    ['quay.io/team/app', 'quay.io/team'],
    ['quay.io:443/team/app', 'quay.io/team'],
    ['quay.io/teams/app', undefined],
    ['x.bad.test/app', '*.bad.test'],
    ['x.y.bad.test:8443/app', '*.bad.test'],
    ['ok.bad.test/app', undefined],
    ['bad.test/app', undefined],
    ['registry-1.docker.io/library/busybox', 'docker.io'],
    ['registry-1.docker.io:443/library/busybox', 'docker.io'],
    ['registry.hub.docker.com/library/busybox', 'docker.io'],
    ['registry.docker.io/library/busybox', 'docker.io'],
    ['mirrored.test/app', undefined],
  ] as const)
    it(`${name}: ${prefix === undefined ? 'not blocked' : `by ${prefix}`}`, () => {
      assert.equal(blockedPrefix(rules, nameOf(name)), prefix);
      assert.equal(asksOrigin(rules, nameOf(name)), prefix === undefined && name !== 'mirrored.test/app');
    });

  it('docker.io: by the rule for another host of Docker Hub, which serves its images', () => {
    const ofApi = new Map([['registry-1.docker.io/library', { blocked: true }]]);
    assert.equal(blockedPrefix(ofApi, nameOf('docker.io/library/busybox')), 'registry-1.docker.io/library');
    assert.equal(blockedPrefix(ofApi, nameOf('docker.io/team/app')), undefined);
    const open = new Map([...ofApi, ['docker.io/library', { blocked: false }]]);
    assert.equal(blockedPrefix(open, nameOf('docker.io/library/busybox')), undefined);
  });
});
