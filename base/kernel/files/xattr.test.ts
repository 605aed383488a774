import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { O_RDONLY, closeFd, getXattr, listXattr, openFile, setXattr } from '../index.ts';
import { temporaryFolder } from '../temporary.fixture.ts';

test('attributes are set, read and listed', (t) => {
  const folder = temporaryFolder(t);
  setXattr(folder, 'trusted.overlay.opaque', Buffer.from('y'));
  setXattr(folder, 'trusted.empty', new Uint8Array());
  assert.deepEqual(getXattr(folder, 'trusted.overlay.opaque'), Uint8Array.from([0x79]));
  assert.deepEqual(getXattr(folder, 'trusted.empty'), new Uint8Array());
  assert.equal(getXattr(folder, 'trusted.absent'), undefined);
  assert.deepEqual(listXattr(folder).sort(), ['trusted.empty', 'trusted.overlay.opaque']);
});

test('a file capability keeps its bytes', (t) => {
  const file = `${temporaryFolder(t)}/file`;
  writeFileSync(file, '');
  // struct vfs_cap_data, revision 2: CAP_NET_BIND_SERVICE permitted, effective
  const capability = Uint8Array.from([1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  setXattr(file, 'security.capability', capability);
  assert.deepEqual(getXattr(file, 'security.capability'), capability);
});

test('a value longer than the first buffer is read', (t) => {
  const folder = temporaryFolder(t);
  const value = new Uint8Array(3000).fill(7);
  setXattr(folder, 'trusted.long', value);
  assert.deepEqual(getXattr(folder, 'trusted.long'), value);
});

test('a link is followed only if requested', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/target`);
  symlinkSync('target', `${folder}/link`);
  setXattr(`${folder}/link`, 'trusted.on', Buffer.from('link'));
  setXattr(`${folder}/link`, 'trusted.on', Buffer.from('target'), { follow: true });
  assert.equal(Buffer.from(getXattr(`${folder}/link`, 'trusted.on') ?? []).toString(), 'link');
  assert.equal(Buffer.from(getXattr(`${folder}/target`, 'trusted.on') ?? []).toString(), 'target');
  assert.throws(() => setXattr(`${folder}/link`, 'user.on', Buffer.from('')), { code: 'KERNEL_EPERM' });
});

test('a descriptor is reached by its /proc path with follow', (t) => {
  const folder = temporaryFolder(t);
  const fd = openFile(folder, O_RDONLY);
  setXattr(`/proc/self/fd/${fd}`, 'trusted.by', Buffer.from('fd'), { follow: true });
  closeFd(fd);
  assert.equal(Buffer.from(getXattr(folder, 'trusted.by') ?? []).toString(), 'fd');
});

test('an attribute that the file system does not support is an error', () => {
  assert.throws(() => setXattr('/proc/version', 'user.a', Buffer.from('b')), { code: 'KERNEL_EOPNOTSUPP' });
});
