import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { limitProject, limitsProjects, setProject } from './project-quota.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-quota-'));
const disk = join(folder, 'disk');

/** Mounts a separate file system with project quotas; undefined if this kernel cannot mount one. */
function mounted(): string | undefined {
  const image = join(folder, 'image');
  writeFileSync(image, '');
  truncateSync(image, 64 * 1024 * 1024);
  mkdirSync(disk);
  try {
    execFileSync('mkfs.ext4', ['-q', '-O', 'project,quota', '-E', 'quotatype=prjquota', image], {
      stdio: 'pipe',
    });
    execFileSync('mount', ['-o', 'loop,prjquota', image, disk], { stdio: 'pipe' });
    return disk;
  } catch {
    return undefined;
  }
}

describe('project quotas', () => {
  const place = mounted();
  const skip = place === undefined ? 'this kernel mounts no ext4 with project quotas' : false;
  after(() => {
    if (place !== undefined) execFileSync('umount', [disk]);
    rmSync(folder, { recursive: true, force: true });
  });

  it('are reported as missing on a file system that was mounted without them', () => {
    assert.equal(limitsProjects('/proc'), false);
  });

  it('limit the files below a folder until they are removed', { skip }, () => {
    assert.equal(limitsProjects(disk), true);
    const tree = join(disk, 'tree');
    mkdirSync(tree);
    setProject(tree, 77);
    limitProject(disk, 77, 1024 * 1024);
    mkdirSync(join(tree, 'below'));
    writeFileSync(join(tree, 'below', 'small'), Buffer.alloc(512 * 1024));
    // With CAP_SYS_RESOURCE, root may exceed a limit of ext4, so this runs as another user.
    const write = (name: string): void =>
      void execFileSync(
        'setpriv',
        [
          '--bounding-set',
          '-sys_resource',
          '--inh-caps',
          '-sys_resource',
          'dd',
          'if=/dev/zero',
          `of=${join(tree, name)}`,
          'bs=64k',
          'count=16',
        ],
        { stdio: 'pipe' },
      );
    assert.throws(() => write('large'), /quota exceeded/i);
    limitProject(disk, 77, 0);
    write('larger');
  });
});
