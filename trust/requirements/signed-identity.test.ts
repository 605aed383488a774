import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeSignedIdentity, signedIdentityMatches } from './signed-identity.ts';
import type { SignedIdentity } from './signed-identity.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const other = `sha256:${'b'.repeat(64)}`;
const app = 'registry.example.com/team/app';
const remap: SignedIdentity = {
  type: 'remapIdentity',
  prefix: 'mirror.example.net/vendor',
  signedPrefix: 'vendor.example.com',
};

/** Based on the cases of the image library's own tests (signature/policy_reference_match_test.go). */
const table: readonly (readonly [
  identity: SignedIdentity | SignedIdentity['type'],
  reference: string,
  claimed: string,
  matches: boolean,
])[] = [
  ['matchExact', `${app}:1`, `${app}:1`, true],
  ['matchExact', `${app}:1`, `${app}:2`, false],
  ['matchExact', `${app}:1`, app, false],
  ['matchExact', `${app}@${digest}`, `${app}@${digest}`, true],
  ['matchExact', `${app}@${digest}`, `${app}:1`, false],
  ['matchExact', 'docker.io/library/busybox:latest', 'busybox:latest', true],
  ['matchExact', 'docker.io/library/busybox:latest', 'index.docker.io/library/busybox:latest', true],
  ['matchRepoDigestOrExact', `${app}:1`, `${app}:1`, true],
  ['matchRepoDigestOrExact', `${app}:1`, `${app}:2`, false],
  ['matchRepoDigestOrExact', `${app}:1`, `${app}@${digest}`, false],
  ['matchRepoDigestOrExact', `${app}@${digest}`, `${app}:1`, true],
  ['matchRepoDigestOrExact', `${app}@${digest}`, `${app}@${other}`, true],
  ['matchRepoDigestOrExact', `${app}@${digest}`, app, false],
  ['matchRepoDigestOrExact', `${app}@${digest}`, `${app}2:1`, false],
  ['matchRepoDigestOrExact', `${app}:1@${digest}`, `${app}:2`, true],
  ['matchRepository', `${app}:1`, app, true],
  ['matchRepository', `${app}:1`, `${app}:2`, true],
  ['matchRepository', `${app}:1`, `${app}/more:1`, false],
  ['matchRepository', `${app}:1`, '', false],
  ['matchRepository', `${app}:1`, 'UPPER/case', false],
  ['matchRepository', `${app}:1`, 'a'.repeat(64), false],
  [{ type: 'exactReference', dockerReference: `${app}:1` }, 'anything.example/x:9', `${app}:1`, true],
  [{ type: 'exactReference', dockerReference: `${app}:1` }, `${app}:1`, `${app}:2`, false],
  [{ type: 'exactRepository', dockerRepository: app }, 'anything.example/x:9', `${app}:5`, true],
  [{ type: 'exactRepository', dockerRepository: app }, `${app}:1`, `${app}b:1`, false],
  [remap, 'mirror.example.net/vendor/app:1', 'vendor.example.com/app:1', true],
  [remap, 'mirror.example.net/vendor/app:1', 'mirror.example.net/vendor/app:1', false],
  [remap, 'mirror.example.net/vendors/app:1', 'vendor.example.coms/app:1', false],
  [remap, 'mirror.example.net/vendors/app:1', 'mirror.example.net/vendors/app:1', true],
  [remap, `mirror.example.net/vendor/app@${digest}`, 'vendor.example.com/app:7', true],
  [{ ...remap, signedPrefix: 'short' }, 'mirror.example.net/vendor/app:1', 'short/app:1', false],
];

for (const [written, reference, claimed, matches] of table) {
  const identity = typeof written === 'string' ? ({ type: written } as SignedIdentity) : written;
  test(`${identity.type}: ${claimed || '(nothing)'} ${matches ? 'is' : 'is not'} accepted for ${reference}`, () => {
    assert.equal(signedIdentityMatches(identity, reference, claimed), matches);
    assert.match(describeSignedIdentity(identity, reference), new RegExp(identity.type));
  });
}
