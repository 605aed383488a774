import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { fillWritableLayer } from './changed-files.ts';
import { createLayerPool } from './layer-workers/layer-pool.ts';
import { defaultLimits } from './limits/limits.ts';

describe('the writable layer of a restored container', () => {
  const pool = createLayerPool();
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-changed-'));
    for (const place of ['rootfs', 'new/etc', 'lower/etc'])
      mkdirSync(join(folder, place), { recursive: true });
    writeFileSync(join(folder, 'lower/etc/gone'), 'x');
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  after(() => pool.close());
  const fill = async (...options: readonly string[]): Promise<void> => {
    const archive = join(folder, 'changes.tar');
    execFileSync('tar', ['-cf', archive, '-C', join(folder, 'new'), ...options, '.']);
    await fillWritableLayer(
      {
        folders: { rootfs: join(folder, 'rootfs') },
        ...{ limits: defaultLimits, pool },
        roots: { use: (_layers, body) => body([join(folder, 'lower')]) },
      },
      'c',
      ['layer'],
      archive,
    );
  };

  it('has the changed files, and marks of the deleted ones', async () => {
    writeFileSync(join(folder, 'new/etc/kept'), 'kept');
    writeFileSync(join(folder, 'new/etc/.wh.gone'), '');
    await fill();
    assert.equal(readFileSync(join(folder, 'rootfs/c/upper/etc/kept'), 'utf8'), 'kept');
    const mark = statSync(join(folder, 'rootfs/c/upper/etc/gone'));
    assert.ok(mark.isCharacterDevice() && mark.rdev === 0);
    assert.deepEqual(readdirSync(join(folder, 'rootfs/c')), ['upper']);
  });

  it('has no file outside, whatever the archive names', async () => {
    writeFileSync(join(folder, 'new/file'), 'x');
    const escape = fill('--transform', 's,file,../../../../escaped,', '--absolute-names');
    await assert.rejects(escape, { code: 'IMAGES_LAYER_BAD_NAME' });
    assert.ok(!existsSync(join(folder, 'escaped')) && !existsSync(join(folder, 'rootfs/escaped')));
    assert.ok(!existsSync(join(folder, 'rootfs/c/upper')));
  });
});
