import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createMountTable } from './mount-table.ts';

const lines = (targets: readonly (readonly [target: string, fstype: string])[]): string =>
  targets
    .map(([target, fstype], index) => `${index + 2} 1 0:${index} / ${target} rw - ${fstype} x rw`)
    .join('\n');
const text = lines([
  ['/', 'ext4'],
  ['/srv', 'nfs4'],
  ['/srv/a\\040b', 'tmpfs'],
  ['/srv', 'xfs'],
]);

describe('the mount that holds a path', () => {
  it('is the deepest mount above it, and the last mount if several have the same target', async () => {
    const { mountOf } = createMountTable(() => Promise.resolve(text));
    for (const [path, target, fstype] of [
      ['/', '/', 'ext4'],
      ['/etc/hosts', '/', 'ext4'],
      ['/srv', '/srv', 'xfs'],
      ['/srv/x/y', '/srv', 'xfs'],
      ['/srvother', '/', 'ext4'],
      ['/srv/a b/c', '/srv/a b', 'tmpfs'],
    ] as const)
      assert.deepEqual(await mountOf(path), { target, fstype }, path);
  });

  it('is found for thousands of paths with one read of the table', async () => {
    let readings = 0;
    const read = (): Promise<string> => {
      readings += 1;
      return Promise.resolve(text);
    };
    const { mountOf } = createMountTable(read, () => 0);
    await Promise.all(Array.from({ length: 4096 }, (_, index) => mountOf(`/srv/${index}`)));
    assert.equal(readings, 1);
  });

  it('is read again after a failed read', async () => {
    let readings = 0;
    const { mountOf } = createMountTable(() => {
      readings += 1;
      return readings === 1 ? Promise.reject(new Error('EMFILE')) : Promise.resolve(text);
    });
    await assert.rejects(mountOf('/srv'), /EMFILE/u);
    assert.equal((await mountOf('/srv')).fstype, 'xfs');
  });
});
