import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPins } from './pins.ts';

const image = (...repoTags: string[]) => ({
  repoTags,
  repoDigests: [`registry.example.com/app@sha256:${'a'.repeat(64)}`],
});
const cases: readonly (readonly [string, string, boolean])[] = [
  ['registry.example.com/app:1', 'registry.example.com/app:1', true],
  ['registry.example.com/app', 'registry.example.com/app:latest', true],
  ['registry.example.com/app', 'registry.example.com/app:1', false],
  ['busybox', 'docker.io/library/busybox:latest', true],
  ['registry.example.com/*', 'registry.example.com/app:1', true],
  ['registry.example.com/b*', 'registry.example.com/app:1', false],
  ['*app*', 'registry.example.com/app:1', true],
  ['*pause*', 'registry.example.com/app:1', false],
  ['app*', 'registry.example.com/app:1', false],
  ['*', 'registry.example.com/app:1', true],
  [`registry.example.com/app@sha256:${'a'.repeat(64)}`, 'registry.example.com/app:1', true],
  [`registry.example.com/app@sha256:${'b'.repeat(64)}`, 'registry.example.com/app:1', false],
];
for (const [pattern, name, expected] of cases) {
  test(`the pin ${pattern} ${expected ? 'matches' : 'does not match'} ${name}`, () => {
    assert.equal(createPins([pattern]).isPinned(image(name)), expected);
  });
}

test('replaced pins take effect immediately', () => {
  const pins = createPins(['*app*']);
  pins.replace([]);
  assert.equal(pins.isPinned(image('registry.example.com/app:1')), false);
});
