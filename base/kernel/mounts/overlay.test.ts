import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { closeFd, isMountpoint, mountOverlay, umount } from '../index.ts';
import { mountByOptions } from './overlay.ts';
import { openDescriptors, temporaryFolder, temporaryMemory } from '../temporary.fixture.ts';

/**
 * Creates layers named by their number. Each has its own file, and one file `top` that the uppermost layer
 * decides.
 */
function makeLayers(folder: string, count: number, prefix = 'layer'): string[] {
  return Array.from({ length: count }, (_, index) => {
    const path = `${folder}/${prefix}${index}`;
    mkdirSync(path, { recursive: true });
    writeFileSync(`${path}/file${index}`, '');
    writeFileSync(`${path}/top`, String(index));
    return path;
  });
}

function makeWritable(folder: string): { upper: string; work: string; target: string } {
  const writable = { upper: `${folder}/upper`, work: `${folder}/work`, target: `${folder}/target` };
  for (const path of Object.values(writable)) mkdirSync(path);
  return writable;
}

test('the first lower folder is the uppermost, and writes go to upper', (t) => {
  const folder = temporaryFolder(t);
  const writable = makeWritable(folder);
  mountOverlay({ lower: makeLayers(folder, 3), ...writable });
  assert.equal(readFileSync(`${writable.target}/top`, 'utf8'), '0');
  assert.ok(existsSync(`${writable.target}/file2`));
  writeFileSync(`${writable.target}/top`, 'written');
  assert.equal(readFileSync(`${writable.upper}/top`, 'utf8'), 'written');
  assert.equal(readFileSync(`${folder}/layer0/top`, 'utf8'), '0');
});

test('the same upper and work can be mounted again after an unmount', (t) => {
  const folder = temporaryFolder(t);
  const overlay = { lower: makeLayers(folder, 2), ...makeWritable(folder) };
  for (const _ of [1, 2]) {
    mountOverlay(overlay);
    umount(overlay.target);
  }
});

for (const [name, mountAs] of [
  ['fsconfig', mountOverlay],
  ['one option string', (overlay: Parameters<typeof mountOverlay>[0]) => mountByOptions(overlay, [])],
] as const) {
  test(`mounts 130 layers with paths of 300 bytes (${name})`, (t) => {
    const folder = temporaryMemory(t);
    const lower = makeLayers(folder, 130, `${'d'.repeat(150)}/${'e'.repeat(150)}/`);
    const writable = makeWritable(folder);
    const held: number[] = [];
    if (mountAs === mountOverlay) mountAs({ lower, ...writable });
    else mountByOptions({ lower, ...writable }, held);
    held.forEach(closeFd);
    assert.equal(readFileSync(`${writable.target}/top`, 'utf8'), '0');
    assert.ok(existsSync(`${writable.target}/file129`));
  });

  test(`mounts paths that contain separators (${name})`, (t) => {
    const folder = `${temporaryFolder(t)}/a,b:c\\d "e"`;
    const lower = makeLayers(folder, 2);
    const writable = makeWritable(folder);
    mountAs({ lower, ...writable });
    assert.equal(readFileSync(`${writable.target}/top`, 'utf8'), '0');
    assert.ok(existsSync(`${writable.target}/file1`));
    umount(writable.target);
  });
}

test('without upper the mount is read-only, also with one lower folder', (t) => {
  const folder = temporaryFolder(t);
  const [first = '', second = ''] = makeLayers(folder, 2);
  const target = `${folder}/target`;
  mkdirSync(target);
  for (const lower of [[first], [first, second]]) {
    mountOverlay({ lower, target });
    assert.ok(isMountpoint(target));
    assert.equal(readFileSync(`${target}/top`, 'utf8'), '0');
    assert.throws(() => writeFileSync(`${target}/top`, ''), { code: 'EROFS' });
    umount(target);
  }
});

test('a failure reports the text of the kernel, and leaves neither mount nor descriptor', (t) => {
  const folder = temporaryFolder(t);
  const lower = makeLayers(folder, 1);
  const writable = makeWritable(folder);
  const before = openDescriptors();
  assert.throws(() => mountOverlay({ lower: [], ...writable }), { code: 'KERNEL_EINVAL' });
  assert.throws(() => mountOverlay({ lower, target: writable.target, upper: writable.upper }), {
    code: 'KERNEL_EINVAL',
  });
  assert.throws(() => mountOverlay({ lower: [`${folder}/absent`], ...writable }), { code: 'KERNEL_ENOENT' });
  assert.throws(() => mountOverlay({ lower, ...writable, target: `${folder}/absent` }), {
    code: 'KERNEL_ENOENT',
  });
  const tooMany = Array.from({ length: 501 }, () => lower[0] ?? '');
  assert.throws(() => mountOverlay({ lower: tooMany, ...writable }), {
    code: 'KERNEL_EINVAL',
    message: /too many lower directories/,
  });
  assert.equal(openDescriptors(), before);
  assert.equal(isMountpoint(writable.target), false);
});

test('creates the folders of a writable overlay, with the owner and the mode of its root', (t) => {
  const folder = temporaryFolder(t);
  const writable = { upper: `${folder}/c/upper`, work: `${folder}/c/work`, target: `${folder}/c/merged` };
  const overlay = { lower: makeLayers(folder, 1), ...writable, make: { uid: 1000, gid: 2000, mode: 0o1750 } };
  for (const _ of ['missing', 'there']) {
    mountOverlay(overlay);
    const { uid, gid, mode } = statSync(writable.target);
    assert.deepEqual({ uid, gid, mode: mode & 0o7777 }, { uid: 1000, gid: 2000, mode: 0o1750 });
    assert.equal(statSync(`${folder}/c`).mode & 0o777, 0o700);
    umount(writable.target);
  }
});
