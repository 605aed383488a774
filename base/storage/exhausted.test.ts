import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { holdDescriptors } from '../process/descriptors.fixture.ts';
import { storageFailure } from './index.ts';

/**
 * Node's SQLite is built without a memory limit that a test could set, so the test uses the codes of
 * sqlite.org/rescode.html.
 */
test('a lack of memory is not reported as a defect of the program', () => {
  for (const errcode of [7, 3082]) {
    const { code, kind } = storageFailure(
      Object.assign(new Error('out of memory'), { errcode }),
      'read from database',
      'state.db',
    );
    assert.deepEqual([code, kind], ['STORAGE_NO_MEMORY', 'exhausted'], String(errcode));
  }
});

test('a lack of descriptors is not reported as a lack of access', () => {
  for (const errno of ['EMFILE', 'ENFILE']) {
    const thrown = Object.assign(new Error(`${errno}: too many open files`), {
      code: errno,
      syscall: 'open',
    });
    const { code, kind } = storageFailure(thrown, 'write file', 'state.json');
    assert.deepEqual([code, kind], ['STORAGE_NO_DESCRIPTORS', 'unavailable']);
  }
});

test('a database that cannot be opened for lack of descriptors is not reported as a lack of access', () => {
  const fileOf = (name: string): string => join(tmpdir(), name, 'state.db');
  const codeOf = (path: string): string => {
    try {
      new DatabaseSync(path).close();
      return '';
    } catch (thrown) {
      return storageFailure(thrown, 'open database', path).code;
    }
  };
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    assert.equal(codeOf(fileOf('.')), 'STORAGE_NO_DESCRIPTORS');
  } finally {
    descriptors.release();
  }
  assert.equal(codeOf(fileOf('no-such-folder')), 'STORAGE_NO_ACCESS');
});
