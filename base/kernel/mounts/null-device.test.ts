import assert from 'node:assert/strict';
import { fchmodSync, fchownSync, fstatSync, readSync, statSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { closeFd, openNullDevice } from '../index.ts';

test('a null device is not shared with other processes', (t) => {
  const before = statSync('/dev/null');
  const [one, other] = [openNullDevice(), openNullDevice()];
  t.after(() => [one, other].forEach(closeFd));
  assert.equal(fstatSync(one).rdev, before.rdev);
  // This must come before any change: if it were the machine's device, every process would lose it.
  for (const fd of [one, other])
    assert.notDeepEqual([fstatSync(fd).dev, fstatSync(fd).ino], [before.dev, before.ino]);
  assert.equal(writeSync(one, 'lost'), 4);
  assert.equal(readSync(one, Buffer.alloc(4)), 0);
  assert.equal(fstatSync(one).mode & 0o7777, 0o666);
  fchownSync(one, 1000, 1000);
  fchmodSync(one, 0);
  const { uid, mode } = fstatSync(other);
  assert.deepEqual([uid, mode & 0o7777], [0, 0o666]);
  // Another program may change the machine's device in the meantime. This test only checks that it did not do
  // so itself.
  assert.notEqual(statSync('/dev/null').mode & 0o7777, 0);
});
