import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { Reactor, StartProgram } from '../../base/reactor/index.ts';
import { podNamespaces } from './pod-namespaces.ts';
import { pinUserNamespace } from './user-namespace.ts';

let kernel: Kernel;
let reactor: Reactor;
let startProgram: StartProgram;
let folder = '';
// An idle reactor does not keep a process alive, so the test does.
const hold = setInterval(() => undefined, 1_000);
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pc-pin-'));
  [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  startProgram = programStarter(reactor, kernel);
});
after(async () => {
  await Promise.all([reactor.close(), kernel.close()]);
  clearInterval(hold);
  rmSync(folder, { recursive: true });
});

const ids = (hostId: number) => ({ hostId, containerId: 0, length: 65_536 });
const plan = { uids: ids(100_000), gids: ids(200_000) };
const sysctls = {
  'net.ipv4.ping_group_range': '0 2147483647',
  'kernel.shm_rmid_forced': '1',
  'fs.mqueue.msg_max': '33',
};
const common = (dir: string) => ({
  dir,
  types: podNamespaces,
  plan,
  hostname: 'mapped',
  sysctls,
  kernel,
  startProgram,
});
const descriptors = (): number => readdirSync('/proc/self/fd').length;
const isGone = (pid: number): boolean =>
  !existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

test('pins namespaces that belong to the user namespace of the pod, and leaves no process', async () => {
  const dir = join(folder, 'pod');
  // The first call opens descriptors that stay open.
  await pinUserNamespace(common(dir));
  await kernel.unpinNamespaces(dir);
  const before = descriptors();
  let helper = 0;
  await pinUserNamespace({
    ...common(dir),
    startProgram: async (program) => {
      const child = await startProgram(program);
      helper = child.pid;
      return child;
    },
  });
  assert.deepEqual(readdirSync(dir).sort(), ['ipc', 'net', 'user', 'uts']);
  assert.ok(isGone(helper));
  const inside = spawn(
    'nsenter',
    [
      `--user=${dir}/user`,
      `--net=${dir}/net`,
      `--ipc=${dir}/ipc`,
      '-S',
      '0',
      '-G',
      '0',
      'cat',
      '/proc/self/uid_map',
      '/proc/self/gid_map',
      '/proc/sys/net/ipv4/ping_group_range',
      '/proc/sys/kernel/shm_rmid_forced',
      '/proc/sys/fs/mqueue/msg_max',
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let text = '';
  inside.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await once(inside, 'close');
  assert.deepEqual(text.trim().split(/\s+/), [
    '0',
    '100000',
    '65536',
    '0',
    '200000',
    '65536',
    '0',
    '65535',
    '1',
    '33',
  ]);
  await kernel.unpinNamespaces(dir);
  // Sockets close one event loop turn later.
  for (let waited = 0; descriptors() > before && waited < 60_000; waited += 10) await pause(10);
  assert.ok(descriptors() <= before);
});

test('pins only the namespaces that a pod does not share with the host', async () => {
  const dir = join(folder, 'on-host');
  await pinUserNamespace({ ...common(dir), types: ['ipc'], sysctls: { 'kernel.shm_rmid_forced': '1' } });
  assert.deepEqual(readdirSync(dir).sort(), ['ipc', 'user']);
  await kernel.unpinNamespaces(dir);
});

test('reports a failed helper with its own message, and leaves nothing', async () => {
  const dir = join(folder, 'refused');
  const attempt = pinUserNamespace({
    ...common(dir),
    startProgram: (program) =>
      startProgram({ ...program, argv: ['unshare', '--user', '--no-such-option', 'cat'] }),
  });
  await assert.rejects(attempt, { code: 'RUNTIME_USER_NAMESPACE_FAILED', message: /no-such-option/ });
  const bad = pinUserNamespace({ ...common(dir), plan: { uids: { ...ids(1), length: 0 }, gids: ids(1) } });
  await assert.rejects(bad, { code: 'RUNTIME_USER_NAMESPACE_FAILED' });
  assert.equal(existsSync(dir), false);
});

test('leaves nothing if the process is killed between the start of the helper and the pin', async () => {
  const dir = join(folder, 'killed');
  const daemon = spawn(process.execPath, [join(import.meta.dirname, 'user-namespace.fixture.ts'), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(daemon.stdout, 'data')) as [Buffer];
  const helper = Number(line.toString());
  assert.match(readFileSync(`/proc/${helper}/uid_map`, 'utf8'), /100000/);
  daemon.kill('SIGKILL');
  await once(daemon, 'exit');
  for (let waited = 0; !isGone(helper) && waited < 60_000; waited += 10) await pause(10);
  assert.ok(isGone(helper), 'its pipe has ended');
  assert.equal(existsSync(dir), false);
});
