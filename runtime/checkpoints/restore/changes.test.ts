import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { openArchiveFolder } from './archive-folder.ts';
import { baseDigests } from './base-image.ts';
import { writeDeletedFiles } from '../archive.ts';
import { deletedFiles, writeChanges } from './changes.ts';

const refused = (why: RegExp): { readonly code: string; readonly message: RegExp } => ({
  code: 'RUNTIME_RESTORE_ARCHIVE',
  message: why,
});

describe('the archive of changed files', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-changes-'));
    mkdirSync(join(folder, 'checkpoint'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const written = async (mostBytes = 1_000_000): Promise<string[] | undefined> => {
    const archive = await openArchiveFolder(folder, 'x');
    try {
      const to = join(folder, 'out');
      if (!(await writeChanges(archive, 'x', to, mostBytes))) return undefined;
      return execFileSync('tar', ['-tf', to], { encoding: 'utf8' }).trim().split('\n');
    } finally {
      archive.close();
    }
  };
  const changes = (...xattr: string[]): void => {
    mkdirSync(join(folder, 'f'));
    writeFileSync(join(folder, 'f/new'), 'new');
    const options = xattr.map((name) => `--pax-option=${name}`);
    execFileSync('tar', [
      '-c',
      '--format=posix',
      ...options,
      '-f',
      join(folder, 'rootfs-diff.tar'),
      '-C',
      join(folder, 'f'),
      '.',
    ]);
  };

  it('has a whiteout for each deleted file, and the changed files', async () => {
    changes();
    writeFileSync(join(folder, 'deleted.files'), '["etc/gone", "/top"]');
    assert.deepEqual(await written(), ['etc/.wh.gone', '.wh.top', './', './new']);
  });

  it('is absent when nothing was changed, and has only whiteouts when files were only deleted', async () => {
    assert.equal(await written(), undefined);
    writeFileSync(join(folder, 'deleted.files'), '["a"]');
    assert.deepEqual(await written(), ['.wh.a']);
  });

  it('is refused when it is too large, or hides a whole folder of the image', async () => {
    changes('SCHILY.xattr.trusted.overlay.opaque:=y');
    await assert.rejects(written(), refused(/had replaced a folder of its image/));
    rmSync(join(folder, 'out'), { force: true });
    await assert.rejects(written(10), refused(/more than 10 bytes/));
  });

  it('is refused when a changed file would delete a file of the image', async () => {
    for (const name of ['.wh.app', '.wh..wh..opq']) {
      rmSync(join(folder, 'f'), { recursive: true, force: true });
      changes();
      mkdirSync(join(folder, 'f/etc'));
      writeFileSync(join(folder, 'f/etc', name), 'x');
      execFileSync('tar', ['-cf', join(folder, 'rootfs-diff.tar'), '-C', join(folder, 'f'), '.']);
      await assert.rejects(written(), refused(/name begins with ".wh."/));
      rmSync(join(folder, 'out'));
    }
  });

  it('may have files whose content is such a name', async () => {
    const file = join(folder, 'f/new');
    changes();
    writeFileSync(file, './.wh.app\n');
    execFileSync('tar', ['-cf', join(folder, 'rootfs-diff.tar'), '-C', join(folder, 'f'), '.']);
    assert.deepEqual(await written(), ['./', './new']);
  });

  it('is refused when it is cut off', async () => {
    changes();
    truncateSync(join(folder, 'rootfs-diff.tar'), 700);
    await assert.rejects(written(), refused(/rootfs-diff.tar cannot be read/));
  });

  it('is never read through a link, or from something that is no file', async () => {
    symlinkSync('/etc/passwd', join(folder, 'rootfs-diff.tar'));
    await assert.rejects(written(), refused(/rootfs-diff.tar cannot be opened/));
    rmSync(join(folder, 'rootfs-diff.tar'));
    mkdirSync(join(folder, 'rootfs-diff.tar'));
    await assert.rejects(written(), refused(/is not a regular file/));
  });

  it('is refused when the folder of the images is a link', async () => {
    rmSync(join(folder, 'checkpoint'), { recursive: true });
    symlinkSync('/etc', join(folder, 'checkpoint'));
    await assert.rejects(openArchiveFolder(folder, 'x'), refused(/checkpoint cannot be opened/));
  });
});

describe('deletedFiles', () => {
  const of = (value: unknown): readonly string[] => deletedFiles(Buffer.from(JSON.stringify(value)), 'x');

  for (const bad of [
    '..',
    '../x',
    'a/../b',
    'a//b',
    'a/',
    './a',
    '',
    '/',
    'a\0b',
    'a/.wh.b',
    'n'.repeat(252),
    7,
  ])
    it(`refuses the name ${JSON.stringify(bad).slice(0, 30)}`, () => {
      assert.throws(() => of([bad]), refused(/has a name/));
    });

  it('refuses what is not a list, or too long', () => {
    assert.throws(() => of({}), refused(/is not a list/));
    assert.throws(() => of(Array.from({ length: 100_001 }, () => 'a')), refused(/is not a list/));
    assert.throws(() => deletedFiles(Buffer.from([0xff]), 'x'), refused(/is not JSON/));
  });

  it('refuses a name that is not UTF-8 in the container, in place of which another file would be deleted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-deleted-'));
    try {
      writeFileSync(join(folder, 'devices'), Buffer.from('0:0 ./etc/\xe4\0', 'latin1'));
      await writeDeletedFiles({
        folder,
        limit: () => Promise.resolve(undefined),
        limited: (why) => new Error(why),
      });
      const written = readFileSync(join(folder, 'deleted.files'));
      assert.throws(() => deletedFiles(written, 'x'), refused(/is not UTF-8/));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('baseDigests', () => {
  const hex = 'a'.repeat(64);
  const of = (value: unknown): readonly string[] => baseDigests(Buffer.from(JSON.stringify(value)), 'x');

  it('returns digests of manifests and configurations, and no names', () => {
    assert.deepEqual(of({ rootfsImageRef: `good.test/app@sha256:${hex}`, rootfsImage: hex }), [
      `sha256:${hex}`,
      `sha256:${hex}`,
    ]);
    assert.deepEqual(of({ rootfsImageID: `sha256:${hex}` }), [`sha256:${hex}`]);
    for (const bad of [
      {},
      { rootfsImageRef: 'app:1' },
      { rootfsImageName: hex },
      { rootfsImage: `x${hex}` },
      { rootfsImage: 7 },
    ])
      assert.throws(() => of(bad), refused(/does not name its image by a digest/));
    assert.throws(() => of(null), refused(/is not an object/));
  });
});
