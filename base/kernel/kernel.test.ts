import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { MS_RDONLY, isMountpoint, mount, reapProcess, startKernelWorker } from './index.ts';
import { PortcullisError } from '../errors/index.ts';
import { damagedFolder, temporaryFolder, temporaryMemory } from './temporary.fixture.ts';

test('the calls have the same effects as the synchronous calls', async (t) => {
  const folder = temporaryFolder(t);
  for (const name of ['lower', 'upper', 'work', 'target', 'bound']) mkdirSync(`${folder}/${name}`);
  const kernel = await startKernelWorker();
  await kernel.mountOverlay({
    lower: [`${folder}/lower`],
    upper: `${folder}/upper`,
    work: `${folder}/work`,
    target: `${folder}/target`,
  });
  writeFileSync(`${folder}/target/file`, '');
  await kernel.bindMount(`${folder}/target`, `${folder}/bound`, { readonly: true });
  assert.ok(existsSync(`${folder}/bound/file`));
  await kernel.setPropagation(`${folder}/bound`, 'private');
  await kernel.umount(`${folder}/bound`);
  await kernel.umount(`${folder}/target`);
  await kernel.mount('tmpfs', `${folder}/target`, 'tmpfs', 0, 'size=64k');
  assert.ok(isMountpoint(`${folder}/target`));
  await kernel.umount(`${folder}/target`);
  await kernel.syncfs(folder);
  assert.ok((await kernel.diskUsage(folder)).inodes >= 7);
  await kernel.removeTree(folder);
  assert.equal(existsSync(folder), false);
  await kernel.close();
});

test('a failure is passed from the Worker with all its parts', async () => {
  const kernel = await startKernelWorker();
  const failure = await kernel.umount('/nowhere').then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(failure instanceof PortcullisError);
  assert.equal(failure.code, 'KERNEL_ENOENT');
  assert.equal(failure.kind, 'not-found');
  assert.equal(failure.failure.on, '/nowhere');
  await kernel.close();
});

test('a failure of node:fs on a full disk is reported as a kernel error, not as a defect', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/lower`);
  mkdirSync(`${folder}/full`);
  mount('tmpfs', `${folder}/full`, 'tmpfs', 0, 'nr_inodes=1');
  const kernel = await startKernelWorker();
  const inFull = (name: string): string => `${folder}/full/${name}`;
  const overlay = {
    lower: [`${folder}/lower`],
    upper: inFull('upper'),
    work: inFull('work'),
    target: inFull('target'),
  };
  await assert.rejects(kernel.mountOverlay({ ...overlay, make: { uid: 0, gid: 0, mode: 0o755 } }), {
    code: 'KERNEL_ENOSPC',
    kind: 'exhausted',
  });
  await kernel.close();
});

test('an overlay whose folders are on a read-only file system is a failure of the node, not of the call', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/lower`);
  mkdirSync(`${folder}/failed`);
  mount('tmpfs', `${folder}/failed`, 'tmpfs', MS_RDONLY);
  const kernel = await startKernelWorker();
  const overlay = {
    lower: [`${folder}/lower`],
    upper: `${folder}/failed/c/upper`,
    work: `${folder}/failed/c/work`,
    target: `${folder}/failed/c/merged`,
  };
  await assert.rejects(kernel.mountOverlay({ ...overlay, make: { uid: 0, gid: 0, mode: 0o755 } }), {
    code: 'KERNEL_EROFS',
    message: /^mkdir .*\/failed\/c: read-only file system/,
  });
  await kernel.close();
});

test('an overlay whose folders are on a damaged file system is a failure of the node, not of the call', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/lower`);
  const damaged = `${damagedFolder(t)}/c`;
  const kernel = await startKernelWorker();
  const [upper, work, target] = [`${damaged}/upper`, `${damaged}/work`, `${damaged}/merged`];
  const overlay = { lower: [`${folder}/lower`], upper, work, target };
  await assert.rejects(kernel.mountOverlay({ ...overlay, make: { uid: 0, gid: 0, mode: 0o755 } }), {
    code: 'KERNEL_EUCLEAN',
    kind: 'data-loss',
  });
  await kernel.close();
});

test('a mount does not wait for a removal', async (t) => {
  const folder = temporaryMemory(t);
  mkdirSync(`${folder}/target`);
  for (let index = 0; index < 4000; index++) {
    if (index % 200 === 0) mkdirSync(`${folder}/tree/${index / 200}`, { recursive: true });
    writeFileSync(`${folder}/tree/${Math.floor(index / 200)}/${index}`, '');
  }
  const kernel = await startKernelWorker();
  const done: string[] = [];
  const removal = kernel.removeTree(`${folder}/tree`).then(() => done.push('removal'));
  // Other calls in the Worker of the removal also get their turn.
  const usage = kernel.diskUsage(`${folder}/target`).then(() => done.push('usage'));
  await kernel.mount('tmpfs', `${folder}/target`, 'tmpfs', 0);
  done.push('mount');
  await Promise.all([removal, usage]);
  assert.equal(done[0], 'mount');
  await kernel.close();
});

test('close waits for pending calls and refuses new calls', async (t) => {
  const folder = temporaryMemory(t);
  mkdirSync(`${folder}/tree`);
  for (let index = 0; index < 1000; index++) writeFileSync(`${folder}/tree/${index}`, '');
  const kernel = await startKernelWorker();
  const removal = kernel.removeTree(`${folder}/tree`);
  await kernel.diskUsage(folder);
  await kernel.close();
  await removal;
  assert.equal(existsSync(`${folder}/tree`), false);
  for (const call of [kernel.umount(folder), kernel.syncfs(folder), kernel.unpinNamespaces(folder)]) {
    await assert.rejects(call, { code: 'KERNEL_WORKER_GONE' });
  }
  await kernel.close();
});

test('a running removal can be cancelled', async (t) => {
  const folder = temporaryMemory(t);
  mkdirSync(`${folder}/tree`);
  for (let index = 0; index < 20_000; index++) writeFileSync(`${folder}/tree/${index}`, '');
  const kernel = await startKernelWorker();
  const removal = assert.rejects(kernel.removeTree(`${folder}/tree`), { code: 'KERNEL_ECANCELED' });
  // The removal starts its Worker.
  await kernel.diskUsage('/proc/self/fdinfo');
  await kernel.giveUpRemovals();
  await removal;
  assert.equal(existsSync(`${folder}/tree`), true);
  await kernel.close();
});

test('the Workers keep the process alive only while a call is pending', () => {
  const module = JSON.stringify(new URL('./index.ts', import.meta.url).href);
  const program = `
    import { startKernelWorker } from ${module};
    const kernel = await startKernelWorker();
    await kernel.syncfs('/proc');
    console.log('synced', await kernel.umount('/nowhere').catch((error) => error.code));`;
  const result = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', timeout: 20_000 });
  assert.deepEqual([result.stdout, result.status, result.signal], ['synced KERNEL_ENOENT\n', 0, null]);
});

test('a program does not wait for mounts', async (t) => {
  const folder = temporaryFolder(t);
  const kernel = await startKernelWorker();
  const start = async (): Promise<void> => {
    const pid = await kernel.spawnProcess({
      path: '/bin/true',
      argv: ['true'],
      env: {},
      descriptors: [null, null, null],
    });
    t.after(async () => {
      while (reapProcess(pid) === undefined) await setTimeout(1);
    });
  };
  // The first call starts its Worker.
  await start();
  const done: string[] = [];
  const mounts: Promise<unknown>[] = [];
  for (let index = 0; index < 1_000; index++)
    mounts.push(
      kernel.mount('tmpfs', folder, 'tmpfs', 0),
      kernel.umount(folder).then(() => done.push('mount')),
    );
  await start();
  const before = done.length;
  await Promise.all(mounts);
  assert.ok(before < 1_000);
  await kernel.close();
});
