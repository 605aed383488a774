import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askedPaths } from './asked-paths.ts';

test('paths to mask must be normalized and absolute, because a path above all others would remove their masks', () => {
  const usual = ['/proc/kcore', '/proc/sys', '/sys/firmware', '/proc/a..b', '/proc'];
  for (const field of ['masked_paths', 'readonly_paths'] as const) {
    assert.deepEqual(askedPaths(field, usual), usual);
    for (const path of [
      '',
      '/',
      '//',
      '/.',
      '/..',
      'x',
      'proc/kcore',
      'proc',
      '/proc/',
      '/proc//sys',
      '/../../etc/shadow',
      '/proc/./sys',
      '/a\nb',
      `/${'a'.repeat(5000)}`,
    ])
      assert.throws(
        () => askedPaths(field, [...usual, path]),
        { code: 'RUNTIME_BAD_MASKED_PATH', kind: 'invalid' },
        JSON.stringify(path),
      );
  }
});
