import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { expectLabel } from './applied-label.ts';
import { profilesOf } from './apparmor.ts';

for (const [label, profiles] of [
  ['portcullis-default (enforce)\n', ['portcullis-default']],
  ['portcullis-default//&with  two (words) (mixed)', ['portcullis-default', 'with  two (words)']],
  [':ns:a//&b//c', [':ns:a', 'b//c']],
  ['unconfined\n', ['unconfined']],
] as const)
  test(`the profiles of the label ${JSON.stringify(label)}`, () =>
    assert.deepEqual(profilesOf(label), profiles));

test(
  'a container whose profile the kernel does not list is not started',
  { skip: existsSync('/sys/kernel/security/apparmor/profiles') && 'test/e2e/apparmor.test.ts does this' },
  () =>
    assert.rejects(expectLabel({ id: 'c', pid: process.pid, label: 'p', own: 'p' }), {
      code: 'RUNTIME_APPARMOR_NOT_LOADED',
      kind: 'precondition',
    }),
);
