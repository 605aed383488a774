import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { PathLike } from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { emptyCgroup, removeCgroups, removeCgroupTree } from './cgroup-removal.ts';
import { cgroupProcesses, missingCgroups, readCgroupMounts, rootOf } from './cgroups.ts';

const mounts = readCgroupMounts();
const own = `/portcullis-removal-${process.pid}`;
const freezer = mounts.version === 2 ? mounts.roots[0] : rootOf(mounts, 'freezer');
const skip = freezer === undefined ? 'no hierarchy that freezes here' : false;

/** Starts processes that fork endlessly, one generation at a time, in a cgroup below ours. */
async function fill(name: string): Promise<string> {
  const path = `${own}/${name}`;
  for (const root of mounts.roots) mkdirSync(join(root, path, 'below'), { recursive: true });
  const procs = [path, `${path}/below`].map((folder) => join(freezer ?? '', folder, 'cgroup.procs'));
  for (const file of procs) {
    const child = spawn(
      'sh',
      ['-c', `echo 0 > ${file}; echo in; while :; do sleep 60; done & while :; do sleep 0.05; done`],
      {
        stdio: ['ignore', 'pipe', 'ignore'],
        detached: true,
      },
    );
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.stdout.destroy();
    child.unref();
  }
  return path;
}

before(() => mounts.roots.forEach((root) => mkdirSync(join(root, own), { recursive: true })));
after(async () => {
  await emptyCgroup(mounts, own);
  await removeCgroupTree(mounts, own);
  assert.deepEqual(missingCgroups(mounts, own), [own]);
});

test('every process in a cgroup and below it is killed, and the tree is removed', { skip }, async () => {
  const path = await fill('busy');
  assert.ok((await cgroupProcesses(mounts, path)).length >= 4);
  await emptyCgroup(mounts, path);
  assert.deepEqual(await cgroupProcesses(mounts, path), []);
  await removeCgroupTree(mounts, path);
  for (const root of mounts.roots) assert.equal(existsSync(join(root, path)), false);
});

test('processes that were frozen are killed as well', { skip }, async () => {
  const path = await fill('frozen');
  const [name, value] = mounts.version === 2 ? ['cgroup.freeze', '1'] : ['freezer.state', 'FROZEN'];
  writeFileSync(join(freezer ?? '', path, name), value);
  await emptyCgroup(mounts, path);
  assert.deepEqual(await cgroupProcesses(mounts, path), []);
  await removeCgroupTree(mounts, path);
});

test('an empty cgroup for which the kernel briefly reports EBUSY is still removed', { skip }, async (t) => {
  const path = `${own}/left`;
  for (const root of mounts.roots) mkdirSync(join(root, path));
  const real = fsPromises.rmdir;
  t.after(() => {
    fsPromises.rmdir = real;
    syncBuiltinESMExports();
  });
  const refused = new Set<string>();
  fsPromises.rmdir = async (folder: PathLike): Promise<void> => {
    if (refused.has(String(folder))) return real(folder);
    refused.add(String(folder));
    throw Object.assign(new Error('EBUSY'), { code: 'EBUSY' });
  };
  syncBuiltinESMExports();
  await removeCgroups(mounts, [path]);
  assert.deepEqual(
    mounts.roots.map((root) => existsSync(join(root, path))).filter((is) => is),
    [],
  );
  assert.ok(refused.size >= mounts.roots.length);
});

test('a cgroup that is in use or contains another cgroup is not removed', { skip }, async () => {
  const path = await fill('used');
  await removeCgroups(mounts, [path, own]);
  assert.ok(existsSync(join(freezer ?? '', path)));
  assert.notEqual(readFileSync(join(freezer ?? '', path, 'cgroup.procs'), 'utf8'), '');
  await emptyCgroup(mounts, path);
  await removeCgroups(mounts, [`${path}/below`, path]);
  assert.equal(existsSync(join(freezer ?? '', path)), false);
});

test('a cgroup does not count as removed if no descriptor is free', { skip }, async () => {
  const path = `${own}/nested`;
  for (const root of mounts.roots) mkdirSync(join(root, path, 'below'), { recursive: true });
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    await assert.rejects(removeCgroupTree(mounts, path), /EMFILE/);
  } finally {
    descriptors.release();
  }
  await removeCgroupTree(mounts, path);
  assert.deepEqual(missingCgroups(mounts, path), [path]);
});

test('the folders that crun made instead of version 2 are removed with the cgroup, and their parents when they are empty', async (t) => {
  const standIn = mkdtempSync(join(tmpdir(), 'portcullis-stand-in-'));
  t.after(() => rmSync(standIn, { recursive: true }));
  for (const name of ['one', 'two']) {
    mkdirSync(join(standIn, 'pod', name), { recursive: true });
    writeFileSync(join(standIn, 'pod', name, 'cgroup.procs'), '1');
  }
  const only = { version: 1, hybrid: false, roots: [], standIn } as const;
  await removeCgroupTree(only, '/pod/one');
  await removeCgroups(only, ['/pod']);
  assert.deepEqual(readdirSync(join(standIn, 'pod')), ['two']);
  await removeCgroupTree(only, '/pod/two');
  await removeCgroups(only, ['/pod']);
  assert.deepEqual(readdirSync(standIn), []);
});
