import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storageFailure } from './index.ts';

/** Node's SQLite is built without a limit of memory that a test could set: the codes are those of sqlite.org/rescode.html. */
test('memory that ran out is no defect of the program', () => {
  for (const errcode of [7, 3082]) {
    const { code, kind } = storageFailure(Object.assign(new Error('out of memory'), { errcode }), 'read from database', 'state.db');
    assert.deepEqual([code, kind], ['STORAGE_NO_MEMORY', 'exhausted'], String(errcode));
  }
});
