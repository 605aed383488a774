import assert from 'node:assert/strict';
import { test } from 'node:test';
import { partyOf } from './party.ts';

test('the party of a review is a user, the service accounts of a namespace, or the namespace for which the control plane asks', () => {
  const of = (username: unknown): string => partyOf({ userInfo: { username } }, 'shop');
  assert.equal(of('ada'), 'user ada');
  assert.equal(of('system:serviceaccount:ci:one'), of('system:serviceaccount:ci:two'));
  assert.equal(of('system:serviceaccount:ci:one'), 'namespace ci');
  assert.equal(of('system:serviceaccount:kube-system:replicaset-controller'), 'namespace shop');
  assert.equal(of('system:node:n1'), 'namespace shop');
  assert.equal(of(7), 'namespace shop');
  assert.equal(of('x'.repeat(10_000)).length, 517);
});
