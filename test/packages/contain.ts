import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { boundingCapabilities } from '../../base/kernel/index.ts';
import { compile, defaultProfile, detectKernel } from '../../entitlements/index.ts';
import { standaloneSpec } from '../../runtime/oci/document/standalone.ts';
import { serialiseSpec } from '../../runtime/oci/spec.ts';
import { PRELUDE } from './programs.ts';
import type { Program } from './programs.ts';
import type { Denied, openRecorder } from './recorder.ts';

/** Time limit for a server that ignores the request to stop. */
const PATIENCE_MS = 90_000;

/** Runs a program in a container under `default`, in its own overlay, recorded from its first instruction. */
export async function runContained(input: {
  readonly folder: string;
  readonly root: string;
  readonly runtime: 'crun' | 'runc';
  readonly program: Program;
  readonly recorder: ReturnType<typeof openRecorder>;
}): Promise<{ status: number | null; output: string; denied: readonly Denied[]; lost: number }> {
  const { folder, root, runtime, program, recorder } = input;
  const id = `packages-${process.pid}-${program.name.replaceAll(/[^a-z0-9]/g, '')}`;
  const bundle = join(folder, id);
  const [upper, work, merged] = ['upper', 'work', 'rootfs'].map((name) => join(bundle, name));
  for (const path of [upper, work, merged]) mkdirSync(path ?? '', { recursive: true });
  execFileSync('mount', [
    '-t',
    'overlay',
    'overlay',
    '-o',
    `lowerdir=${root},upperdir=${upper},workdir=${work}`,
    merged ?? '',
  ]);
  const state = join(folder, 'state');
  const log = join(bundle, 'log');
  const call = (...args: string[]): void =>
    void spawnSync(runtime, ['--root', state, ...args], { stdio: 'ignore' });
  try {
    writeFileSync(join(bundle, 'config.json'), configuration(runtime, program));
    const pid = await create(runtime, state, bundle, id, log);
    const recording = recorder.record(pid);
    call('start', id);
    const late = await ended(pid, PATIENCE_MS);
    if (late) call('kill', '--all', id, 'KILL');
    const { denied, lost } = recording.stop();
    const output = readFileSync(log, 'utf8');
    const status = late ? null : Number(/^::exit (\d+)$/m.exec(output)?.[1] ?? 255);
    return { status, output, denied, lost };
  } finally {
    call('delete', '--force', id);
    spawnSync('umount', ['--lazy', merged ?? '']);
    rmSync(bundle, { recursive: true, force: true });
  }
}

function configuration(runtime: string, program: Program): string {
  const profile = { ...defaultProfile(), ambient: [] };
  const settings = compile(profile, {
    architecture: 'x86_64',
    runtime,
    kernel: detectKernel(),
    heldCapabilities: boundingCapabilities(),
  });
  const spec = standaloneSpec({
    settings,
    runtime,
    rootfs: 'rootfs',
    // The script's own shell is process 1; its status is the program's.
    args: ['/bin/sh', '-c', `(${PRELUDE}\n${program.script}\n); s=$?; echo; echo "::exit $s"`],
    env: ['PATH=/usr/sbin:/usr/bin'],
    cwd: '/',
    user: { uid: 0, gid: 0, additionalGids: [] },
    terminal: false,
    hostname: 'package',
  });
  // A network namespace with its loopback up, entered before.
  const namespaces = spec.linux.namespaces.filter(({ type }) => type !== 'network');
  return serialiseSpec({ ...spec, linux: { ...spec.linux, namespaces } });
}

async function create(
  runtime: string,
  state: string,
  bundle: string,
  id: string,
  log: string,
): Promise<number> {
  const pidFile = join(bundle, 'pid');
  const script =
    'ip link set lo up; umount /sys/fs/cgroup/unified 2>/dev/null; rt=$1; shift; [ $rt = runc ] || set -- --cgroup-manager=disabled "$@"; exec $rt "$@"';
  const output = openSync(log, 'w');
  const child = spawn(
    'unshare',
    [
      '-m',
      '-n',
      'sh',
      '-c',
      script,
      'sh',
      runtime,
      '--root',
      state,
      'create',
      '--bundle',
      bundle,
      '--pid-file',
      pidFile,
      id,
    ],
    { stdio: ['ignore', output, output] },
  );
  closeSync(output);
  const [status] = (await once(child, 'exit')) as [number | null];
  if (status !== 0) throw new Error(`${runtime} create: ${readFileSync(log, 'utf8')}`);
  return Number(readFileSync(pidFile, 'utf8'));
}

/** Waits for the process. @returns whether it still existed at the end */
async function ended(pid: number, milliseconds: number): Promise<boolean> {
  const until = performance.now() + milliseconds;
  while (performance.now() < until) {
    if (!running(pid)) return false;
    await sleep(50);
  }
  return running(pid);
}

function running(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
