import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { globMatches, parseImagePattern, patternMatches } from './image-pattern.ts';
import { processorMs } from '../../test/fixtures/cost.ts';

const table: readonly (readonly [pattern: string, registry: string, repository: string, matches: boolean])[] =
  [
    ['registry.example.com/pay/**', 'registry.example.com', 'pay/app', true],
    ['registry.example.com/pay/**', 'registry.example.com', 'pay/a/b/c', true],
    ['registry.example.com/pay/**', 'registry.example.com', 'pay', false],
    ['registry.example.com/pay/**', 'registry.example.com', 'payments/app', false],
    ['registry.example.com/pay/**', 'registry.example.com.evil.org', 'pay/app', false],
    ['registry.example.com/pay/**', 'evil.org', 'registry.example.com/pay/app', false],
    ['registry.example.com/pay/*', 'registry.example.com', 'pay/app', true],
    ['registry.example.com/pay/*', 'registry.example.com', 'pay/a/b', false],
    ['registry.example.com/*/app', 'registry.example.com', 'pay/app', true],
    ['registry.example.com/*/app', 'registry.example.com', 'app', false],
    ['registry.example.com/**/app', 'registry.example.com', 'app', true],
    ['registry.example.com/**/app', 'registry.example.com', 'a/b/app', true],
    ['registry.example.com/pay/app', 'registry.example.com', 'pay/app', true],
    ['registry.example.com/pay/app', 'registry.example.com', 'pay/app2', false],
    ['registry.example.com/pay-*/app', 'registry.example.com', 'pay-eu/app', true],
    ['registry.example.com/**', 'registry.example.com:443', 'app', false],
    ['Registry.Example.com/app', 'registry.example.com', 'app', true],
    ['localhost:*/dev/**', 'localhost:5000', 'dev/app', true],
    ['localhost:*/dev/**', 'localhost', 'dev/app', false],
    ['localhost:5000/dev/**', 'localhost:5001', 'dev/app', false],
    ['127.0.0.1:*/**', '127.0.0.1:45123', 'a', true],
    ['*.example.com/**', 'eu.example.com', 'app', true],
    ['*.example.com/**', 'example.com', 'app', false],
    ['*/app', 'anything:5000', 'app', true],
    ['**', 'anything.example', 'a/b', true],
    ['busybox', 'docker.io', 'library/busybox', true],
    ['busybox', 'docker.io', 'other/busybox', false],
    ['grafana/grafana', 'docker.io', 'grafana/grafana', true],
    ['docker.io/busybox', 'docker.io', 'library/busybox', true],
    ['index.docker.io/library/*', 'docker.io', 'library/busybox', true],
    ['docker.io/**', 'docker.io', 'library/busybox', true],
    ['[::1]:5000/app', '[::1]:5000', 'app', true],
    // In the form that references have.
    ['[2001:db8:0:0::1]:05000/**', '[2001:db8::1]:5000', 'a', true],
    ['127.1:*/**', '127.0.0.1:45123', 'a', true],
    ['registry.example.com:0443/**', 'registry.example.com:443', 'a', true],
    ['*.example.com:05000/**', 'registry.example.com:5000', 'a', true],
    ['*:05000/**', '127.0.0.1:5000', 'a', true],
  ];

for (const [pattern, registry, repository, matches] of table) {
  test(`${pattern} ${matches ? 'matches' : 'does not match'} ${registry}/${repository}`, () => {
    assert.equal(patternMatches(parseImagePattern(pattern), { registry, repository }), matches);
  });
}

const digest = `sha256:${'a'.repeat(64)}`;
const tagged: readonly (readonly [
  pattern: string,
  image: { readonly tag?: string; readonly digest?: string },
  matches: boolean,
])[] = [
  ['r.example/app:1', { tag: '1' }, true],
  ['r.example/app:1', { tag: '11' }, false],
  ['r.example/app:v*', { tag: 'v2' }, true],
  ['r.example/**:v*', { tag: 'v2' }, true],
  ['r.example/app:*', { tag: 'latest' }, true],
  // A reference by digest has no tag that was resolved.
  ['r.example/app:1', { tag: '1', digest }, false],
  ['r.example/app:*', { digest }, false],
  [`r.example/app@${digest}`, { digest }, true],
  [`r.example/app@${digest}`, { tag: '1' }, false],
  [`r.example/app@${digest}`, { digest: `sha256:${'b'.repeat(64)}` }, false],
  ['r.example/app', { tag: '1', digest }, true],
];

for (const [pattern, image, matches] of tagged) {
  test(`${pattern} ${matches ? 'matches' : 'does not match'} ${JSON.stringify(image)}`, () => {
    assert.equal(
      patternMatches(parseImagePattern(pattern), { registry: 'r.example', repository: 'app', ...image }),
      matches,
    );
  });
}

const refused: readonly (readonly [pattern: string, says: RegExp])[] = [
  ['', /1 to 512 characters/],
  ['registry.example.com/app:', /"" is not a tag|":" is not a tag/],
  ['registry.example.com/app:1@sha256:' + 'a'.repeat(64), /a tag or a digest, not both/],
  ['registry.example.com/app@sha256:00', /64 hexadecimal digits/],
  ['registry.example.com:5000', /a registry without a repository/],
  ['localhost:5000', /a registry without a repository/],
  ['registry.example.com:70000/app', /is not a registry/],
  ['registry.example.com./app', /is not a registry/],
  ['*.example.com:70000/app', /is not a registry/],
  ['*.example.com./app', /is not a registry/],
  [':*/app', /is not a registry/],
  ['registry.example.com/a:1/b', /a tag must be at the end/],
  ['registry.example.com//app', /empty path segment/],
  ['https://registry.example.com/app', /no scheme/],
  ['registry.example.com/a**', /"\*\*" stands for whole path segments/],
  ['registry.example.com/App', /lower case/],
  ['registry.example.com/app?', /letters, digits/],
  ['registry.example.com:x/app', /not a registry/],
  ['a'.repeat(513), /512/],
];

for (const [pattern, says] of refused) {
  test(`refuses the pattern "${pattern.slice(0, 40)}"`, () =>
    assert.throws(() => parseImagePattern(pattern), says));
}

test('a glob without a star matches only its own text, and a star matches any continuation', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '-'), maxLength: 12 });
  fc.assert(
    fc.property(text, text, text, (head, middle, tail) => {
      assert.equal(globMatches(head, middle), head === middle);
      assert.equal(globMatches(`${head}*${tail}`, `${head}${middle}${tail}`), true);
    }),
  );
});

test('matching stays linear for patterns made to backtrack', () => {
  const started = processorMs();
  assert.equal(globMatches('*a'.repeat(200), `${'a'.repeat(20_000)}b`), false);
  assert.equal(
    patternMatches(parseImagePattern(`${'**/'.repeat(100)}x`), {
      registry: 'r.example',
      repository: 'a/'.repeat(100) + 'b',
    }),
    false,
  );
  assert.ok(processorMs() - started < 2000);
});
