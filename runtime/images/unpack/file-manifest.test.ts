import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { holdDescriptors } from '../../../base/process/descriptors.fixture.ts';
import { verifyFiles } from './file-manifest.ts';

// In a separate file, because Workers of another test could free a descriptor while all are in use.
test('a file that cannot be opened because no descriptor is free does not count as damaged', () => {
  const folder = mkdtempSync(`${tmpdir()}/portcullis-verify-`);
  writeFileSync(`${folder}/one`, 'text', { mode: 0o644 });
  const line = `${JSON.stringify({ p: 'one', t: 'f', m: 0o644, s: 4, h: hash('sha256', 'text', 'hex') })}\n`;
  assert.deepEqual(verifyFiles(folder, line), []);
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    assert.throws(() => verifyFiles(folder, line), { code: 'EMFILE' });
  } finally {
    descriptors.release();
    rmSync(folder, { recursive: true });
  }
});

test('a file that the disk does not read does not count as damaged', () => {
  const folder = mkdtempSync(`${tmpdir()}/portcullis-verify-`);
  // A read of this file fails with EIO: nothing is mapped at the address 0.
  symlinkSync('/proc/self', `${folder}/here`);
  const line = `${JSON.stringify({ p: 'here/mem', t: 'f', m: 0o600, s: 0, h: hash('sha256', '', 'hex') })}\n`;
  try {
    assert.throws(() => verifyFiles(folder, line), { code: 'EIO' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
