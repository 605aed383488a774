import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { PortcullisError } from '../../base/errors/index.ts';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { kernelError } from '../../base/kernel/index.ts';
import { startMonitor } from './conmon.ts';
import type { MonitorInput } from './conmon.ts';
import { refused } from './failures.ts';
import { endProcessesWithArgument, processesWithArgument } from '../processes/processes.ts';

const input: MonitorInput = {
  startProgram: () => Promise.reject(new Error('not reached')),
  conmon: '/usr/bin/conmon',
  handler: { program: '/usr/bin/crun', globalArgs: [] as readonly string[] } as MonitorInput['handler'],
  id: 'a'.repeat(64),
  bundle: '/tmp',
  folders: { exits: '/tmp', attach: '/tmp' },
  logPath: '',
  terminal: false,
  stdin: false,
  stdinOnce: false,
  systemdCgroup: false,
};

test('the error of a monitor that cannot start because no processes are left does not suggest an installation', async () => {
  const startProgram = (): Promise<never> =>
    Promise.reject(kernelError('EAGAIN', 'posix_spawn', '/usr/bin/conmon'));
  await assert.rejects(startMonitor({ ...input, startProgram }), {
    code: 'RUNTIME_MONITOR_FAILED',
    kind: 'exhausted',
  });
  await assert.rejects(startMonitor(input), { code: 'RUNTIME_MONITOR_FAILED', kind: 'internal' });
});

test('a monitor that cannot start because no descriptors are left leaves no descriptor open', async () => {
  const descriptors = holdDescriptors();
  try {
    for (const count of [0, 1, 2, 3]) {
      descriptors.fill();
      descriptors.free(count);
      await assert.rejects(startMonitor(input), { code: 'KERNEL_EMFILE' });
      assert.equal(descriptors.room(), count, `of ${count} descriptors`);
    }
  } finally {
    descriptors.release();
  }
});

/** Starts a conmon in its own folder, with `script` as its runtime. */
async function monitorOf(t: TestContext, script: string, more: Partial<MonitorInput> = {}) {
  const [reactor, kernel] = [await startReactor(), await startKernelWorker()];
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-conmon-'));
  t.after(async () => {
    await Promise.all([reactor.close(), kernel.close()]);
    rmSync(folder, { recursive: true });
  });
  const inside = (name: string): string => join(folder, name);
  for (const name of ['exits', 'attach', 'bundle']) mkdirSync(inside(name));
  const id = randomBytes(32).toString('hex');
  const program = inside('runtime');
  writeFileSync(program, `#!/bin/sh\nid=${id} bundle=${inside('bundle')}\n${script}\n`, { mode: 0o755 });
  const monitor = await startMonitor({
    startProgram: programStarter(reactor, kernel),
    conmon: '/usr/bin/conmon',
    id,
    bundle: inside('bundle'),
    folders: { exits: inside('exits'), attach: inside('attach') },
    logPath: inside('log'),
    terminal: false,
    stdin: false,
    stdinOnce: false,
    systemdCgroup: false,
    ...more,
    handler: {
      kind: 'runc',
      ...more.handler,
      program,
      path: program,
      globalArgs: [] as readonly string[],
    } as MonitorInput['handler'],
  });
  return { monitor, id, bundle: inside('bundle') };
}

test(
  'a runtime that is killed while its child process waits for it is soon reported as a failure',
  { timeout: 60_000 },
  async (t) => {
    const { monitor, id } = await monitorOf(
      t,
      "sh -c 'while true; do sleep 0.2; done' sh $id $bundle &\nkill -KILL $$",
    );
    await assert.rejects(monitor.create(), {
      code: 'RUNTIME_CREATE_FAILED',
      kind: 'internal',
      message: /was ended before it created/,
    });
    assert.deepEqual(processesWithArgument(id), [], 'no part of it stays');
  },
);

test(
  'a message of the runtime that contains control characters is reported',
  { timeout: 60_000 },
  async (t) => {
    const { monitor } = await monitorOf(t, "printf 'exec \\001\\037\\tname: no such file\\n' >&2\nexit 1");
    await assert.rejects(monitor.create(), (error: PortcullisError) => {
      assert.equal(error.code, 'RUNTIME_CREATE_FAILED');
      assert.match(error.failure.why, /exec .*name: no such file/u);
      return true;
    });
  },
);

// The messages of crun 1.8.1 and runc 1.5.2 when one of their processes is killed during `create`.
for (const message of [
  'write to sync socket: Broken pipe',
  'read from sync socket',
  'read status from sync socket: Connection reset by peer',
  'writing sync procError: write sync: broken pipe\nEOF',
  'level=error msg="runc create failed: unable to start container process: error during container init: procReady not received"',
])
  test(`a runtime of which a process was killed is no fault of the request: ${JSON.stringify(message)}`, () => {
    const { kind, code, failure } = refused('a'.repeat(64), '/usr/bin/crun', `${message}\n`);
    assert.deepEqual([code, kind], ['RUNTIME_CREATE_FAILED', 'internal']);
    assert.match(failure.why, /was killed, or ended for lack of memory/u);
    assert.match(failure.fix, /^repeat the request.*memory limit/u);
  });

test('the error of an earlier call, which crun adds to a message, is not shown', () => {
  const { failure } = refused('a'.repeat(64), 'crun', 'read status from sync socket: File exists\n');
  assert.match(failure.why, /for lack of memory \(read status from sync socket\)$/u);
});

// crun 1.8.1 and runc 1.5.2. A kubelet repeats a creation that failed for lack of memory, and does not repeat
// the start of a container whose limit is too low.
for (const message of [
  'OOM: the memory limit could be too low: Cannot allocate memory',
  'OOM: the memory limit could be too low: fork: Resource temporarily unavailable',
  'level=error msg="runc create failed: container init was OOM-killed (memory limit too low?)"',
])
  test(`a memory limit that is too low is a fault of the request: ${JSON.stringify(message)}`, () => {
    const { kind, code } = refused('a'.repeat(64), '/usr/bin/crun', `${message}\n`);
    assert.deepEqual([code, kind], ['RUNTIME_CREATE_FAILED', 'precondition']);
  });

test(
  'a monitor that was killed before its file was written is a failure with a reason',
  { timeout: 60_000 },
  async (t) => {
    // The parent of the conmon that runs this may write the file later.
    const { monitor, id, bundle } = await monitorOf(
      t,
      'sleep 600 >/dev/null 2>&1 &\nprintf $! > init.pid\nuntil [ -s monitor.pid ]; do sleep 0.01; done\nrm monitor.pid',
    );
    await assert.rejects(monitor.create(), { code: 'RUNTIME_MONITOR_FAILED' });
    process.kill(Number(readFileSync(join(bundle, 'init.pid'), 'utf8')), 'SIGKILL');
    await endProcessesWithArgument(id);
  },
);

for (const kind of ['crun', 'runc'] as const)
  test(`${kind} gets the option for systemd before the command create`, { timeout: 60_000 }, async (t) => {
    const { monitor, bundle } = await monitorOf(
      t,
      'printf %s "$*" > bundle-arguments\necho refused >&2\nexit 1',
      { systemdCgroup: true, handler: { kind } as MonitorInput['handler'] },
    );
    await assert.rejects(monitor.create(), { code: 'RUNTIME_CREATE_FAILED' });
    assert.match(readFileSync(join(bundle, 'bundle-arguments'), 'utf8'), /^--systemd-cgroup create /);
  });

for (const isEarly of [true, false])
  test(
    `a runtime is ended when its creation is aborted ${isEarly ? 'before it begins' : 'while it hangs'}`,
    { timeout: 60_000 },
    async (t) => {
      const { monitor, id } = await monitorOf(
        t,
        "exec sh -c 'while true; do sleep 0.2; done' sh $id $bundle",
      );
      const client = spawn('sh', ['-c', 'while true; do sleep 0.2; done', 'crictl', 'rm', id]);
      t.after(() => client.kill('SIGKILL'));
      const abort = new AbortController();
      if (isEarly) abort.abort(new Error('stopped'));
      const created = monitor.create(abort.signal);
      if (!isEarly) setTimeout(() => abort.abort(new Error('stopped')), 500);
      await assert.rejects(created, /stopped/u);
      for (let waited = 0; waited < 10_000 && processesWithArgument(id).length > 1; waited += 100)
        await new Promise((resolve) => setTimeout(resolve, 100));
      const left = processesWithArgument(id).map(({ pid }) => pid);
      assert.deepEqual(left, [client.pid], 'only a client that names the container goes on');
    },
  );

test(
  'a restore that takes longer than it may is ended, with all its processes',
  { timeout: 60_000 },
  async (t) => {
    const restore = { images: '/images', launcher: [], options: [], timeoutMs: 3_000 };
    const { monitor, id } = await monitorOf(t, "exec sh -c 'while true; do sleep 0.2; done' sh $id", {
      restore,
    });
    await assert.rejects(monitor.create(), {
      code: 'RUNTIME_MONITOR_FAILED',
      message: /did not answer within 3 s.*checkpoint\.timeout/s,
    });
    for (let waited = 0; waited < 10_000 && processesWithArgument(id).length > 0; waited += 100)
      await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(processesWithArgument(id), []);
  },
);
