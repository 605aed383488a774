import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { makeFolder, makeFolderSync } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-folder-'));
after(() => rmSync(folder, { recursive: true, force: true }));
writeFileSync(join(folder, 'file'), '');
symlinkSync('/nonexistent', join(folder, 'dangling'));
symlinkSync('.', join(folder, 'link'));

const ways: readonly (readonly [string, (path: string, mode?: number) => Promise<unknown>])[] = [
  ['makeFolder', makeFolder],
  ['makeFolderSync', (path, mode) => Promise.resolve().then(() => makeFolderSync(path, mode))],
];

for (const [name, make] of ways) {
  describe(name, () => {
    it('creates missing folders with the mode, and does not change existing folders', async () => {
      await make(join(folder, name, 'a/b'), 0o750);
      assert.equal(statSync(join(folder, name, 'a')).mode & 0o777, 0o750);
      chmodSync(join(folder, name, 'a'), 0o700);
      await make(join(folder, name, 'a/c'));
      assert.equal(statSync(join(folder, name, 'a')).mode & 0o777, 0o700);
      await make(join(folder, 'link', name, 'a/d'));
      assert.ok(existsSync(join(folder, name, 'a/d')));
    });

    it('succeeds for many concurrent calls', async () => {
      await Promise.all(Array.from({ length: 20 }, () => make(join(folder, `${name}-many/a/b/c`))));
      assert.ok(existsSync(join(folder, `${name}-many/a/b/c`)));
    });

    for (const path of [
      '/proc/none/below',
      '/proc/self/none/below',
      '/sys/none/below',
      'file',
      'file/below',
      'dangling',
      'dangling/below',
    ]) {
      it(`reports why ${path} cannot be created`, async () => {
        await assert.rejects(make(path.startsWith('/') ? path : join(folder, path)), {
          code: 'STORAGE_NO_ACCESS',
        });
      });
    }
  });
}

describe('makeFolder', () => {
  it('returns what it had to create', async () => {
    assert.equal(await makeFolder(join(folder, 'new/er/est')), join(folder, 'new'));
    assert.equal(await makeFolder(join(folder, 'new/er/other')), join(folder, 'new/er/other'));
    assert.equal(await makeFolder(join(folder, 'new/er')), undefined);
  });
});
