import assert from 'node:assert/strict';
import { test } from 'node:test';
import { areLocal, isWholeTable } from './local-mounts.ts';

const root =
  '40 30 0:50 / / rw,relatime - overlay overlay rw,lowerdir+=/l/1/fs,upperdir=/r/rootfs/abc/upper,workdir=/r/rootfs/abc/work';

test('a file system of another host or of a process is not local, and an empty table is not either', () => {
  assert.equal(areLocal([{ fstype: 'overlay' }, { fstype: 'proc' }, { fstype: 'tmpfs' }]), true);
  for (const fstype of [
    'nfs4',
    'fuse',
    'fuse.sshfs',
    'fuseblk',
    'cifs',
    '9p',
    'ceph',
    'virtiofs',
    'autofs',
    '',
  ])
    assert.equal(areLocal([{ fstype: 'overlay' }, { fstype }]), false, fstype);
  assert.equal(areLocal([]), false);
});

test('only the table of a process whose root is the container’s own overlay is complete', () => {
  assert.equal(isWholeTable(`${root}\n41 40 0:51 / /proc rw - proc proc rw`, 'abc'), true);
  const others = {
    'another container': root.replaceAll('abc', 'abcd'),
    'a folder of the overlay': root.replace(' / / ', ' /sub / '),
    'a volume': '41 40 0:51 / / rw - tmpfs tmpfs rw',
    'an overlay of an image volume': root
      .replace('rootfs/abc/upper', 'volumes/abc-0/upper')
      .replace('/upper,', '/other,'),
    'a folder without a mount': '41 40 0:51 / /sub rw - tmpfs tmpfs rw',
    nothing: '',
  };
  for (const [what, table] of Object.entries(others)) assert.equal(isWholeTable(table, 'abc'), false, what);
});
