import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { after, before, test } from 'node:test';
import { mount, setPropagation, startKernelWorker } from '../index.ts';
import type { Kernel } from '../index.ts';
import { damagedFolder, mountLines, mountsBelow, temporaryFolder } from '../temporary.fixture.ts';

let kernel: Kernel;
before(async () => {
  kernel = await startKernelWorker();
});
after(() => kernel.close());

const types = ['net', 'ipc', 'uts'] as const;

function inside(dir: string, command: string): string {
  const flags = types
    .filter((type) => existsSync(`${dir}/${type}`))
    .map((type) => `--${type}=${dir}/${type}`);
  return execFileSync('nsenter', [...flags, 'sh', '-c', command])
    .toString()
    .trim();
}

test('a damaged file system below the pins has its name in the error, and is no bug', async (t) => {
  const dir = `${damagedFolder(t)}/pod`;
  await assert.rejects(kernel.pinNamespaces({ dir, types: [...types], sysctls: {} }), {
    code: 'KERNEL_EUCLEAN',
    kind: 'data-loss',
    message: /check the disk/,
  });
});

test('pinned namespaces are new, configured, and end with unpin', async (t) => {
  const dir = `${temporaryFolder(t)}/deep/pod`;
  const host = hostname();
  const sysctls = {
    'net.ipv4.ip_unprivileged_port_start': '0',
    'kernel.shm_rmid_forced': '1',
    'net/ipv4/conf/all/forwarding': '1',
  };
  await kernel.pinNamespaces({ dir, types: [...types], hostname: 'a-pod', sysctls });
  assert.deepEqual(readdirSync(dir).sort(), ['ipc', 'net', 'uts']);
  assert.equal(statSync(dir).mode & 0o777, 0o700);
  assert.equal(inside(dir, 'hostname'), 'a-pod');
  for (const [name, value] of Object.entries(sysctls))
    assert.equal(inside(dir, `cat /proc/sys/${name.replaceAll('.', '/')}`), value);
  assert.match(inside(dir, 'ip -o link'), /^1: lo: <LOOPBACK,UP,LOWER_UP>/);
  for (const type of types) {
    assert.notEqual(
      inside(dir, `readlink /proc/self/ns/${type}`),
      execFileSync('readlink', [`/proc/self/ns/${type}`])
        .toString()
        .trim(),
    );
  }

  await kernel.configureNamespaces({
    dir,
    types: ['net', 'uts'],
    hostname: 'renamed',
    sysctls: { 'net.ipv4.ip_forward': '0' },
  });
  assert.equal(inside(dir, 'hostname; cat /proc/sys/net/ipv4/ip_forward'), 'renamed\n0');
  assert.equal(hostname(), host);

  await kernel.unpinNamespaces(dir);
  assert.equal(existsSync(dir), false);
  assert.deepEqual(mountsBelow(dir), []);
  await kernel.unpinNamespaces(dir);
});

test('pins only the requested types, and does not change an existing pin', async (t) => {
  const dir = `${temporaryFolder(t)}/pod`;
  await kernel.pinNamespaces({ dir, types: ['ipc'], sysctls: {} });
  const pinned = statSync(`${dir}/ipc`).ino;
  await assert.rejects(kernel.pinNamespaces({ dir, types: ['net', 'ipc'], sysctls: {} }), {
    code: 'KERNEL_EEXIST',
  });
  assert.deepEqual(readdirSync(dir), ['ipc']);
  assert.equal(statSync(`${dir}/ipc`).ino, pinned);
  await kernel.unpinNamespaces(dir);
});

test('unpin removes what a crash left', async (t) => {
  const dir = `${temporaryFolder(t)}/pod`;
  mkdirSync(dir);
  writeFileSync(`${dir}/net`, '');
  await assert.rejects(kernel.pinNamespaces({ dir, types: ['net'], sysctls: {} }), { code: 'KERNEL_EEXIST' });
  await kernel.unpinNamespaces(dir);
  assert.equal(existsSync(dir), false);
});

for (const [what, input, code] of [
  [
    'a sysctl of the host',
    { types: ['net', 'ipc', 'uts'], sysctls: { 'kernel.panic': '1' } },
    'KERNEL_EPERM',
  ],
  [
    'a sysctl of a type that is not pinned',
    { types: ['ipc'], sysctls: { 'net.ipv4.ip_forward': '1' } },
    'KERNEL_EPERM',
  ],
  ['a sysctl that does not exist', { types: ['net'], sysctls: { 'net.ipv4.no_such': '1' } }, 'KERNEL_ENOENT'],
  [
    'a value that the kernel refuses',
    { types: ['net'], sysctls: { 'net.ipv4.ip_forward': 'many' } },
    'KERNEL_EINVAL',
  ],
  ['a host name without uts', { types: ['net'], hostname: 'x', sysctls: {} }, 'KERNEL_EINVAL'],
  [
    'a host name that is too long',
    { types: ['uts'], hostname: 'x'.repeat(65), sysctls: {} },
    'KERNEL_EINVAL',
  ],
  ['no type', { types: [], sysctls: {} }, 'KERNEL_EINVAL'],
  ['a type twice', { types: ['net', 'net'], sysctls: {} }, 'KERNEL_EINVAL'],
] as const) {
  test(`refuses ${what}, and leaves nothing behind`, async (t) => {
    const dir = `${temporaryFolder(t)}/pod`;
    const forwarding = readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8');
    await assert.rejects(kernel.pinNamespaces({ ...input, types: [...input.types], dir }), { code });
    assert.equal(existsSync(dir), false);
    assert.deepEqual(mountsBelow(dir), []);
    assert.equal(readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8'), forwarding);
  });
}

for (const propagation of ['private', 'shared', 'slave'] as const) {
  test(`a ${propagation} parent keeps its propagation, and unpin removes everything`, async (t) => {
    const folder = temporaryFolder(t);
    mount('tmpfs', folder, 'tmpfs', 0);
    setPropagation(folder, propagation === 'slave' ? 'shared' : propagation);
    setPropagation(folder, propagation);
    const optional = (): string | undefined => mountLines(folder)[0]?.[6];
    const parent = optional();
    await kernel.pinNamespaces({ dir: `${folder}/pod`, types: [...types], sysctls: {} });
    assert.equal(mountsBelow(`${folder}/pod`).length, 3);
    assert.equal(optional(), parent);
    await kernel.unpinNamespaces(`${folder}/pod`);
    assert.deepEqual(mountsBelow(`${folder}/pod`), []);
  });
}

test('unpin does not remove a folder with other content, and reports it', async (t) => {
  const dir = `${temporaryFolder(t)}/pod`;
  await kernel.pinNamespaces({ dir, types: ['uts'], sysctls: {} });
  writeFileSync(`${dir}/other`, '');
  await assert.rejects(kernel.unpinNamespaces(dir), { code: 'KERNEL_ENOTEMPTY' });
  assert.deepEqual(readdirSync(dir), ['other']);
});

test('pins fifty at once', async (t) => {
  const folder = temporaryFolder(t);
  const dirs = Array.from({ length: 50 }, (_, index) => `${folder}/pod${index}`);
  await Promise.all(
    dirs.map((dir, index) =>
      kernel.pinNamespaces({ dir, types: [...types], hostname: `pod-${index}`, sysctls: {} }),
    ),
  );
  assert.equal(new Set(dirs.map((dir) => statSync(`${dir}/net`).ino)).size, 50);
  assert.equal(inside(dirs[17] ?? '', 'hostname'), 'pod-17');
  await Promise.all(dirs.map((dir) => kernel.unpinNamespaces(dir)));
  assert.deepEqual(mountsBelow(folder), []);
});
