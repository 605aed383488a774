import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isErrno } from '../ffi/errno.ts';
import { temporaryFolder } from '../temporary.fixture.ts';
import { inheritanceOf } from './inheritance.ts';
import { setProject } from './project-quota.ts';
import { setXattr } from './xattr.ts';

/** Read and search for the owner, the user 1234, the group and others: linux/posix_acl_xattr.h. */
function defaultAcl(): Buffer {
  const none = 0xff_ff_ff_ff;
  const entries = [
    [0x01, none],
    [0x02, 1234],
    [0x04, none],
    [0x10, none],
    [0x20, none],
  ] as const;
  const value = Buffer.alloc(4 + 8 * entries.length);
  value.writeUInt32LE(2, 0);
  for (const [at, [tag, id]] of entries.entries()) {
    value.writeUInt16LE(tag, 4 + 8 * at);
    value.writeUInt16LE(5, 6 + 8 * at);
    value.writeUInt32LE(id, 8 + 8 * at);
  }
  return value;
}

describe('what new files inherit from their folder', () => {
  const changes: Readonly<Record<string, (folder: string) => void>> = {
    'the group': (folder) => {
      chownSync(folder, 0, 4);
      chmodSync(folder, 0o2755);
    },
    'the access control list': (folder) => setXattr(folder, 'system.posix_acl_default', defaultAcl()),
    'the project': (folder) => setProject(folder, 7),
    'the mount': (folder) => void execFileSync('mount', ['--bind', folder, folder]),
  };
  for (const [what, change] of Object.entries(changes))
    it(`differs by ${what}`, (t) => {
      const place = temporaryFolder(t);
      const [plain, other] = ['plain', 'other'].map((name) => join(place, name)) as [string, string];
      for (const folder of [plain, other]) mkdirSync(folder);
      assert.equal(inheritanceOf(other), inheritanceOf(plain));
      try {
        change(other);
      } catch (thrown) {
        if (!isErrno(thrown, 'EOPNOTSUPP', 'ENOTTY')) throw thrown;
        t.skip('the file system has no such attribute');
        return;
      }
      const found = inheritanceOf(other);
      if (what === 'the mount') execFileSync('umount', [other]);
      assert.notEqual(found, inheritanceOf(plain));
    });
});
