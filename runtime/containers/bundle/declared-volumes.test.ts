import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeFolderInRoot } from './declared-volumes.ts';

describe('a missing folder to which a link of an image leads', () => {
  let rootfs = '';
  before(() => {
    rootfs = mkdtempSync(join(tmpdir(), 'missing-folder-'));
    writeFileSync(join(rootfs, 'file'), '');
    symlinkSync('/', join(rootfs, 'top'));
  });
  after(() => rmSync(rootfs, { recursive: true }));

  it('is created with the folders above it, inside the root file system', () => {
    for (const path of ['/a/b', '/a/b/c', '/top/d']) makeFolderInRoot(rootfs, path);
    for (const path of ['a/b/c', 'd']) assert.ok(statSync(join(rootfs, path)).isDirectory());
  });

  it('is a bad mount if a file is in its place', () => {
    assert.throws(() => makeFolderInRoot(rootfs, '/file/below'), {
      code: 'RUNTIME_BAD_MOUNT',
      message:
        /^mount \/file\/below: a link of the image leads there, and a part of the path is not a folder/u,
    });
  });
});
