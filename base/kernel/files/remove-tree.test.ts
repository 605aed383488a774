import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { test } from 'node:test';
import {
  O_DIRECTORY,
  O_RDONLY,
  S_IFCHR,
  bindMount,
  closeFd,
  mkfifo,
  mknod,
  mount,
  openFile,
  umount,
} from '../index.ts';
import { diskUsage } from './disk-usage.ts';
import { removeTree } from './remove-tree.ts';
import { openDescriptors, temporaryFolder, temporaryMemory } from '../temporary.fixture.ts';

function run<T>(steps: Generator<void, T, void>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** A chain of folders whose path is far beyond PATH_MAX, with a file in each. */
function makeDeep(folder: string, depth: number): void {
  let fd = openFile(folder, O_RDONLY | O_DIRECTORY);
  for (let level = 0; level < depth; level++) {
    writeFileSync(`/proc/self/fd/${fd}/file`, '');
    mkdirSync(`/proc/self/fd/${fd}/${'d'.repeat(100)}`);
    const next = openFile(`/proc/self/fd/${fd}/${'d'.repeat(100)}`, O_RDONLY | O_DIRECTORY);
    closeFd(fd);
    fd = next;
  }
  closeFd(fd);
}

test('removes a file, a link and an empty folder, and accepts a missing path', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/outside`);
  writeFileSync(`${folder}/file`, '');
  symlinkSync('outside', `${folder}/link`);
  mkdirSync(`${folder}/empty`);
  for (const name of ['absent', 'absent/below', 'file', 'link', 'empty'])
    run(removeTree(`${folder}/${name}`));
  assert.deepEqual(readdirSync(folder), ['outside']);
  assert.throws(() => run(removeTree('/')), { code: 'KERNEL_EINVAL' });
});

test('removes a hostile tree: outward links, devices, FIFOs, closed folders, names that are not text', (t) => {
  const folder = temporaryFolder(t);
  const tree = `${folder}/tree`;
  mkdirSync(`${folder}/outside`);
  writeFileSync(`${folder}/outside/precious`, 'kept');
  mkdirSync(`${tree}/closed/deeper`, { recursive: true });
  symlinkSync(`${folder}/outside`, `${tree}/absolute`);
  symlinkSync('../outside/precious', `${tree}/relative`);
  symlinkSync('.', `${tree}/loop`);
  mknod(`${tree}/zero`, S_IFCHR | 0o600, 1, 5);
  mkfifo(`${tree}/fifo`, 0o600);
  writeFileSync(Buffer.from([...Buffer.from(`${tree}/`), 0xff, 0x0a, 0x80]), '');
  mkdirSync(Buffer.from([...Buffer.from(`${tree}/`), 0xfe]));
  writeFileSync(Buffer.from([...Buffer.from(`${tree}/`), 0xfe, 0x2f, 0x41]), '');
  for (const name of ['.hidden', '...', '..x', ' ', '-rf', '*']) writeFileSync(`${tree}/${name}`, '');
  writeFileSync(`${tree}/closed/deeper/file`, '');
  for (const name of ['closed/deeper', 'closed', '']) chmodSync(`${tree}/${name}`, 0);
  const before = openDescriptors();
  run(removeTree(tree));
  assert.equal(existsSync(tree), false);
  assert.equal(readFileSync(`${folder}/outside/precious`, 'utf8'), 'kept');
  assert.equal(openDescriptors(), before);
});

test('removes a tree deeper than PATH_MAX with few descriptors', (t) => {
  const folder = temporaryMemory(t);
  mkdirSync(`${folder}/tree`);
  makeDeep(`${folder}/tree`, 1000);
  const before = openDescriptors();
  let most = 0;
  const usage = run(diskUsage(`${folder}/tree`));
  assert.equal(usage.inodes, 2001);
  for (const _ of removeTree(`${folder}/tree`)) most = Math.max(most, openDescriptors());
  assert.equal(existsSync(`${folder}/tree`), false);
  assert.ok(most - before < 40, `${most - before} descriptors`);
  assert.equal(openDescriptors(), before);
});

test('removes folders with more names than one buffer holds', (t) => {
  const tree = `${temporaryFolder(t)}/tree`;
  for (let index = 0; index < 60; index++) {
    mkdirSync(`${tree}/folder-with-a-longer-name-${index}/below`, { recursive: true });
  }
  for (let index = 0; index < 1000; index++)
    writeFileSync(`${tree}/file-with-a-rather-long-name-${index}`, '');
  assert.equal(run(diskUsage(tree)).inodes, 1121);
  run(removeTree(tree));
  assert.equal(existsSync(tree), false);
});

for (const [what, source] of [
  ['a tmpfs', undefined],
  ['a bind of the same file system', 'outside'],
] as const) {
  test(`a mount below is never entered: ${what}`, (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(`${folder}/tree/a/mounted`, { recursive: true });
    mkdirSync(`${folder}/outside`);
    if (source === undefined) mount('tmpfs', `${folder}/tree/a/mounted`, 'tmpfs', 0);
    else bindMount(`${folder}/${source}`, `${folder}/tree/a/mounted`);
    writeFileSync(`${folder}/tree/a/mounted/precious`, 'kept');
    assert.throws(() => run(removeTree(`${folder}/tree`)), {
      code: 'KERNEL_EBUSY',
      message: /mounted there/,
    });
    assert.throws(() => run(removeTree(`${folder}/tree/a/mounted`)), { code: /KERNEL_(EBUSY|EXDEV)/ });
    assert.equal(readFileSync(`${folder}/tree/a/mounted/precious`, 'utf8'), 'kept');
    assert.equal(run(diskUsage(`${folder}/tree`)).inodes, 2);
    umount(`${folder}/tree/a/mounted`);
    run(removeTree(`${folder}/tree`));
    assert.equal(existsSync(`${folder}/tree`), false);
  });
}

test('a file with a bind mount on it is not removed, and neither is the mounted file', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/tree`);
  writeFileSync(`${folder}/precious`, 'kept');
  writeFileSync(`${folder}/tree/file`, '');
  bindMount(`${folder}/precious`, `${folder}/tree/file`);
  assert.throws(() => run(removeTree(`${folder}/tree`)), { code: 'KERNEL_EBUSY' });
  assert.equal(readFileSync(`${folder}/precious`, 'utf8'), 'kept');
});

test('names that appear during the removal are removed too', (t) => {
  const tree = `${temporaryFolder(t)}/tree`;
  mkdirSync(tree);
  for (let index = 0; index < 500; index++) writeFileSync(`${tree}/file${index}`, '');
  let rounds = 0;
  for (const _ of removeTree(tree)) if (rounds++ < 20) writeFileSync(`${tree}/again${rounds}`, '');
  assert.equal(existsSync(tree), false);
});

test('a tree that is moved during the removal is not followed to its new parent', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/tree`);
  mkdirSync(`${folder}/elsewhere/victim`, { recursive: true });
  makeDeep(`${folder}/tree`, 100);
  const steps = removeTree(`${folder}/tree`);
  steps.next();
  // The walk is deep inside now. A folder on the path is moved, so `..` of the folder below leads elsewhere.
  execFileSync('mv', [`${folder}/tree/${'d'.repeat(100)}/${'d'.repeat(100)}`, `${folder}/elsewhere/moved`]);
  assert.throws(() => run(steps), { code: /KERNEL_(ESTALE|ENOENT)/ });
  assert.ok(existsSync(`${folder}/elsewhere/victim`));
});

test('disk usage agrees with du', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/a/b`, { recursive: true });
  writeFileSync(`${folder}/a/one`, 'x'.repeat(10_000));
  writeFileSync(`${folder}/a/b/two`, 'x'.repeat(100_000));
  execFileSync('ln', [`${folder}/a/one`, `${folder}/a/b/linked`]);
  symlinkSync('/usr', `${folder}/usr`);
  const kilobytes = Number(execFileSync('du', ['-s', '--block-size=1024', folder]).toString().split('\t')[0]);
  const inodes = Number(execFileSync('du', ['-s', '--inodes', folder]).toString().split('\t')[0]);
  assert.deepEqual(run(diskUsage(folder)), { bytes: kilobytes * 1024, inodes });
  assert.throws(() => run(diskUsage(`${folder}/absent`)), { code: 'KERNEL_ENOENT' });
});
