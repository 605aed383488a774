import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { findIsal, loadFirst } from './isal-library.ts';

const found = findIsal();
const isRoot = process.getuid?.() === 0;

let folder = '';
beforeEach(() => {
  folder = realpathSync(mkdtempSync(`${tmpdir()}/portcullis-isal-`));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Copies the library of this machine, and returns the path of the copy. */
function copy(name = 'libisal.so.2.0.30'): string {
  const path = `${folder}/${name}`;
  copyFileSync('isal' in found ? found.isal.path : assert.fail(), path);
  chmodSync(path, 0o644);
  return path;
}

function whyNot(...paths: string[]): string {
  const answer = loadFirst(paths);
  return 'why' in answer ? answer.why : 'it was loaded';
}

describe(
  'libisal',
  { skip: (!('isal' in found) || !isRoot) && 'libisal is not installed, or the test does not run as root' },
  () => {
    test('is loaded from the first path that exists', () => {
      symlinkSync(copy(), `${folder}/libisal.so.2`);
      const answer = loadFirst([`${folder}/missing`, `${folder}/libisal.so.2`]);
      assert.equal('isal' in answer && answer.isal.path, `${folder}/libisal.so.2.0.30`);
    });

    test('is not loaded from a file that other users may write', () => {
      const path = copy();
      for (const mode of [0o664, 0o646]) {
        chmodSync(path, mode);
        assert.match(whyNot(path), /users other than root can change \S+libisal\.so\.2\.0\.30,/u);
      }
    });

    test('is not loaded from a file of another user', () => {
      const path = copy();
      chownSync(path, 65_534, 0);
      assert.match(whyNot(path), /users other than root can change/u);
    });

    test('is not loaded from below a folder of another user, also through a link', () => {
      mkdirSync(`${folder}/below`);
      const path = copy('below/libisal.so.2.0.30');
      chownSync(folder, 65_534, 0);
      symlinkSync(path, `${folder}/libisal.so.2`);
      for (const each of [path, `${folder}/libisal.so.2`])
        assert.ok(whyNot(each).startsWith(`users other than root can change ${folder},`));
    });

    test('is not loaded if its release is older than the known ones, or unknown', () => {
      for (const name of ['libisal.so.2.0.29', 'libisal.so.2', 'libisal.so.3.0.30', 'libisal.so.2.0.30.bak'])
        assert.match(whyNot(copy(name)), /is not libisal 2\.30 or later/u);
    });
  },
);

test(
  'a file that is not a library gives a reason and no exception',
  { skip: process.arch !== 'x64' || !isRoot },
  () => {
    const path = `${folder}/libisal.so.2.0.30`;
    writeFileSync(path, 'no library', { mode: 0o644 });
    assert.match(whyNot(path), /cannot be loaded/u);
    rmSync(path);
    // Another library: it has none of the functions.
    copyFileSync('/usr/lib/x86_64-linux-gnu/libm.so.6', path);
    assert.match(whyNot(path), /cannot be loaded/u);
  },
);

test('a machine without the library has a reason', () => {
  assert.equal(whyNot(`${folder}/missing`, `${folder}/missing/too`), 'libisal is not installed');
});
