import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { bindMount, startKernelWorker } from '../index.ts';
import type { Kernel } from '../index.ts';
import {
  mountLines,
  mountsBelow,
  openDescriptors,
  temporaryFolder,
  temporaryMemory,
} from '../temporary.fixture.ts';

let kernel: Kernel;
before(async () => {
  kernel = await startKernelWorker();
});
after(() => kernel.close());

/** Starts a process in namespaces that belong to a user namespace of the ids 0 … 999 = host 50000 … */
async function mappedProcess(t: TestContext): Promise<ChildProcess & { readonly pid: number }> {
  const child = spawn('unshare', ['--user', '--net', '--ipc', '--uts', 'cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  child.stdin.write('.');
  await once(child.stdout, 'data');
  const { pid = 0 } = child;
  for (const map of ['uid_map', 'gid_map']) writeFileSync(`/proc/${pid}/${map}`, '0 50000 1000\n');
  return Object.assign(child, { pid });
}

test('an idmapped bind shows other owners, and does not change the owners on disk', async (t) => {
  const folder = temporaryFolder(t);
  const source = `${folder}/source`;
  for (const path of [source, `${folder}/target`]) mkdirSync(path);
  for (const [name, id] of [
    ['root', 0],
    ['seven', 7],
    ['beyond', 1000],
  ] as const) {
    writeFileSync(`${source}/${name}`, '');
    chownSync(`${source}/${name}`, id, id);
  }
  const { pid } = await mappedProcess(t);
  const descriptors = openDescriptors();
  bindMount(source, `${folder}/target`, { idmap: `/proc/${pid}/ns/user`, readonly: true });
  assert.equal(openDescriptors(), descriptors);
  const owners = ['root', 'seven', 'beyond'].map((name) => statSync(`${folder}/target/${name}`).uid);
  assert.deepEqual(owners, [50_000, 50_007, 65_534], 'an id beyond the range is the overflow id');
  assert.equal(statSync(`${source}/seven`).uid, 7);
  assert.match(mountLines(`${folder}/target`)[0]?.[5] ?? '', /^ro,.*idmapped/);
});

test('checks without a mount whether a mount could be idmapped', async (t) => {
  const memory = temporaryMemory(t);
  const { pid } = await mappedProcess(t);
  const userNamespace = `/proc/${pid}/ns/user`;
  await kernel.checkIdmap('/var/tmp', userNamespace);
  await assert.rejects(kernel.checkIdmap('/proc/sys', userNamespace), {
    code: 'KERNEL_EINVAL',
    message: /\/proc\/sys.*ext4/s,
  });
  await assert.rejects(kernel.checkIdmap('/var/tmp', '/proc/self/ns/user'), { code: 'KERNEL_EINVAL' });
  await assert.rejects(kernel.checkIdmap(`${memory}/absent`, userNamespace), { code: 'KERNEL_ENOENT' });
  assert.deepEqual(mountsBelow(memory), [memory]);
});

test('the namespaces of a process are pinned with the user namespace that owns them', async (t) => {
  const dir = `${temporaryFolder(t)}/pod`;
  const child = await mappedProcess(t);
  const namespaces = ['user', 'net', 'ipc', 'uts'].map((type) =>
    readlinkSync(`/proc/${child.pid}/ns/${type}`),
  );
  const sysctls = { 'net.ipv4.ip_unprivileged_port_start': '0' };
  await kernel.pinNamespacesOf(child.pid, { dir, types: ['net', 'ipc', 'uts'], hostname: 'mapped', sysctls });
  assert.deepEqual(
    ['user', 'net', 'ipc', 'uts'].map((type) => `${type}:[${statSync(`${dir}/${type}`).ino}]`),
    namespaces,
  );
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  // Only its own root may configure the network namespace.
  const inside = spawn(
    'nsenter',
    [
      '--preserve-credentials',
      `--user=${dir}/user`,
      `--net=${dir}/net`,
      `--uts=${dir}/uts`,
      'sh',
      '-c',
      'hostname; ip -o link',
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const chunks: Buffer[] = [];
  inside.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(inside, 'close');
  assert.match(Buffer.concat(chunks).toString(), /^mapped\n1: lo: <LOOPBACK,UP/);
  await kernel.unpinNamespaces(dir);
  assert.equal(existsSync(dir), false);
});

test('an ended process leaves no pin', async (t) => {
  const folder = temporaryFolder(t);
  const last = Number(readFileSync('/proc/sys/kernel/pid_max', 'utf8'));
  await assert.rejects(kernel.pinNamespacesOf(last, { dir: `${folder}/pod`, types: ['net'], sysctls: {} }), {
    code: 'KERNEL_ENOENT',
  });
  assert.deepEqual(readdirSync(folder), []);
  assert.deepEqual(mountsBelow(folder), []);
});
