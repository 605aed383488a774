import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { processIdentity } from '../../base/process/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { removeCgroups } from '../cgroups/cgroup-removal.ts';
import { readCgroupMounts } from '../cgroups/cgroups.ts';
import { openRuntimeHandler } from './runtime-handler.ts';

// An idle reactor does not keep the process alive, so the test does.
const hold = setInterval(() => undefined, 1_000);
const folder = mkdtempSync(join(tmpdir(), 'portcullis-handler-'));
const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
after(async () => {
  await Promise.all([reactor.close(), kernel.close()]);
  clearInterval(hold);
  rmSync(folder, { recursive: true });
});

test('opening a handler removes only the files of updates that a killed daemon began', async () => {
  const stateDir = join(folder, 'updates');
  mkdirSync(stateDir);
  writeFileSync(join(stateDir, `.update-${'a'.repeat(64)}-1.json`), '{}');
  mkdirSync(join(stateDir, 'b'.repeat(64)));
  const handler = await openRuntimeHandler({
    startProgram: programStarter(reactor, kernel),
    name: 'crun',
    path: '/usr/bin/crun',
    stateDir,
  });
  assert.equal(handler.kind, 'crun');
  assert.deepEqual(readdirSync(stateDir), ['b'.repeat(64)]);
  assert.equal(await handler.observe('c'.repeat(64)), 'absent');
  await handler.delete('c'.repeat(64));
});

test('a command that ends without a message is reported with its signal or its exit code', async () => {
  const [stateDir, path] = [join(folder, 'silent'), join(folder, 'silent-runtime')];
  mkdirSync(stateDir);
  writeFileSync(path, '#!/bin/sh\ncase "$*" in *--version) ;; *update*) kill -9 $$;; *) exit 3;; esac\n', {
    mode: 0o755,
  });
  const startProgram = programStarter(reactor, kernel);
  const handler = await openRuntimeHandler({ startProgram, name: 'silent', path, stateDir });
  const failed = { code: 'RUNTIME_OCI_FAILED' };
  await assert.rejects(handler.update('e', {}), {
    ...failed,
    message: /: signal 9 ended it without a message; /,
  });
  await assert.rejects(handler.delete('e'), { ...failed, message: /: it exited with 3 without a message; / });
});

test('delete removes a state that runc cannot read, if the caller removes the cgroup', async () => {
  const stateDir = join(folder, 'damaged');
  const startProgram = programStarter(reactor, kernel);
  mkdirSync(stateDir);
  const handler = await openRuntimeHandler({ startProgram, name: 'runc', path: '/usr/sbin/runc', stateDir });
  for (const damaged of ['{"id":"e', 'null']) {
    mkdirSync(join(stateDir, 'e'));
    writeFileSync(join(stateDir, 'e/state.json'), damaged);
    await assert.rejects(handler.delete('e'), { code: 'RUNTIME_OCI_FAILED' });
    await handler.delete('e', true);
    assert.deepEqual(readdirSync(stateDir), []);
  }
  writeFileSync(join(stateDir, 'e'), 'a file');
  await handler.delete('e', true);
  assert.deepEqual(readdirSync(stateDir), []);
});

// crun 1.8 refuses hybrid cgroups, so a daemon unmounts version 2 in its own mount namespace.
const leaveHybrid = existsSync('/sys/fs/cgroup/unified')
  ? 'mount --make-rprivate /sys/fs/cgroup && umount /sys/fs/cgroup/unified; '
  : '';

// runc writes its record before it lets its first process continue. The first process ends with a runc that
// is killed earlier.
test('delete ends the first process of a crun create that was interrupted before it wrote a record', async () => {
  const path = '/usr/bin/crun';
  const [stateDir, bundle, id] = [join(folder, 'state'), join(folder, 'bundle'), 'd'.repeat(64)];
  mkdirSync(stateDir);
  mkdirSync(join(bundle, 'rootfs'), { recursive: true });
  writeFileSync(join(bundle, 'rootfs/none'), '', { mode: 0o700 });
  const configuration = {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args: ['/none'], cwd: '/', env: ['PATH=/'], noNewPrivileges: true },
    root: { path: 'rootfs' },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs' },
    ],
    linux: { namespaces: [{ type: 'mount' }, { type: 'pid' }], cgroupsPath: `/${id}` },
  };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(configuration));
  const pidFile = join(bundle, 'pid');
  const create = [path, '--root', stateDir, 'create', '--bundle', bundle, '--pid-file', pidFile, id];
  // The command must not wait for its outputs, because the first process keeps them open.
  const made = spawnSync('unshare', ['-m', 'sh', '-c', `${leaveHybrid}exec "$@"`, 'sh', ...create], {
    stdio: 'ignore',
  });
  assert.equal(made.status, 0);
  const pid = Number(readFileSync(pidFile, 'utf8'));
  const cgroups = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  const client = spawn('sh', ['-c', 'while true; do sleep 0.2; done', 'crictl', 'rm', id]);
  try {
    assert.notEqual(processIdentity(pid), undefined);
    rmSync(join(stateDir, id, 'status'));
    const handler = await openRuntimeHandler({
      startProgram: programStarter(reactor, kernel),
      name: 'crun',
      path,
      stateDir,
    });
    await handler.delete(id);
    assert.equal(processIdentity(pid), undefined, 'the first process is gone');
    assert.deepEqual(readdirSync(stateDir), []);
    assert.equal(client.exitCode ?? client.signalCode, null, 'a client that names the container goes on');
  } finally {
    client.kill('SIGKILL');
    if (processIdentity(pid) !== undefined) process.kill(pid, 'SIGKILL');
    await removeCgroups(
      readCgroupMounts(),
      [...cgroups.matchAll(/^.*?:.*?:(.*)$/gm)].map((match) => match[1] ?? ''),
    );
  }
});

test('a handler whose program does not exist is refused with one sentence', async () => {
  const path = join(folder, 'none');
  const startProgram = programStarter(reactor, kernel);
  await assert.rejects(openRuntimeHandler({ startProgram, name: 'none', path, stateDir: folder }), {
    code: 'RUNTIME_HANDLER_UNUSABLE',
    message: `open runtime handler none (${path}): no such file or directory (ENOENT); install the runtime (\`portcullis doctor --fix\`) or correct its path in the configuration [RUNTIME_HANDLER_UNUSABLE]`,
  });
});
