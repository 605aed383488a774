import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probeProgram } from '../../entitlements/compile/fixtures/probe-program.ts';
import { basePolicy } from '../../entitlements/index.ts';
import { exportOci } from '../../entitlements/seccomp/oci-export.ts';
import type { Recorder } from './calls-after-filter.ts';

/** An OCI runtime to measure. */
export interface Subject {
  readonly kind: 'crun' | 'runc';
  readonly version: string;
  readonly path: string;
}

const PROGRAMS = [
  { kind: 'crun', path: '/usr/bin/crun' },
  { kind: 'runc', path: '/usr/sbin/runc' },
  { kind: 'runc', path: join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'bin/runc') },
] as const;

/** Returns the runtimes of this machine, and those under test/peers. */
export function subjects(): Subject[] {
  return PROGRAMS.filter(({ path }) => existsSync(path)).map(({ kind, path }) => ({
    kind,
    path,
    version:
      /version (\S+?)(?:\+\S+)?\n/.exec(spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout)?.[1] ??
      'unknown',
  }));
}

interface Way {
  readonly name: string;
  readonly user?: number;
  readonly noNewPrivileges?: boolean;
  readonly terminal?: boolean;
  readonly userNamespace?: boolean;
  readonly exec?: boolean;
}

const START: readonly Way[] = [
  { name: 'start' },
  { name: 'start, no_new_privs', noNewPrivileges: true },
  { name: 'start, another user', user: 1000 },
  { name: 'start, another user, no_new_privs', user: 1000, noNewPrivileges: true },
  { name: 'start, terminal', terminal: true },
  { name: 'start, terminal, no_new_privs', terminal: true, noNewPrivileges: true },
  { name: 'start, user namespace', userNamespace: true },
  { name: 'start, user namespace, no_new_privs', userNamespace: true, noNewPrivileges: true },
];
/** All ways to start a process in a container that differ in the runtime's calls after the filter. */
export const WAYS: readonly Way[] = [
  ...START,
  ...START.map((way) => ({ ...way, name: way.name.replace('start', 'exec'), exec: true })),
];

/**
 * Measures one way. @returns the numbers of the calls; when the runtime did not start the process, undefined
 * with the runtime's output
 */
export async function measure(
  subject: Subject,
  way: Way,
  recorder: Recorder,
): Promise<{ readonly calls: readonly number[] | undefined; readonly said: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'base-sets-'));
  chmodSync(folder, 0o755);
  const id = `base-sets-${process.pid}`;
  const { entered } = prepare(subject, folder);
  const terminal = way.terminal === true;
  try {
    const args = way.exec === true ? ['/bin/sleep', '20'] : ['/bin/true'];
    writeFileSync(join(folder, 'config.json'), JSON.stringify(configuration(way, args)));
    if (way.exec !== true) {
      const { status, calls, said } = await recorder.record(
        entered(['run', '--bundle', folder, id], terminal),
      );
      return { calls: status === 0 ? calls : undefined, said };
    }
    const [program = '', ...rest] = entered(['run', '--detach', '--bundle', folder, id], false);
    const began = spawnSync(program, rest, { stdio: ['ignore', 'ignore', 'ignore'], timeout: 20_000 });
    if (began.status !== 0) return { calls: undefined, said: `run --detach: ${began.status}` };
    const process = join(folder, 'process.json');
    writeFileSync(process, JSON.stringify(configuration(way, ['/bin/true']).process));
    const { status, calls, said } = await recorder.record(
      entered(['exec', '--process', process, id], terminal),
    );
    return { calls: status === 0 ? calls : undefined, said };
  } finally {
    const [program = '', ...rest] = entered(['delete', '--force', id], false);
    spawnSync(program, rest, { stdio: 'ignore', timeout: 20_000 });
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Starts a container with only the base set, and a command in it according to `way`.
 * @returns `started`, or the failure and its output
 */
export function startsUnder(subject: Subject, way: Way, otherwise: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'base-sets-'));
  chmodSync(folder, 0o755);
  const id = `base-sets-${process.pid}`;
  const { entered } = prepare(subject, folder);
  // A program without a C library, which would make its own calls; 34: pause.
  writeFileSync(join(folder, 'rootfs/bin/wait'), probeProgram([{ nr: 34 }]), { mode: 0o755 });
  writeFileSync(join(folder, 'rootfs/bin/quick'), probeProgram([]), { mode: 0o755 });
  const filter = {
    defaultAction: otherwise,
    architectures: ['SCMP_ARCH_X86_64'],
    syscalls: [
      ...exportOci(basePolicy(subject.kind), 'x86_64').syscalls,
      { names: ['pause', 'exit'], action: 'SCMP_ACT_ALLOW' },
    ],
  };
  const run = (args: readonly string[], terminal: boolean, stdio: 'ignore' | 'pipe') => {
    const [program = '', ...rest] = entered(args, terminal);
    return spawnSync(program, rest, { stdio: ['ignore', stdio, stdio], encoding: 'utf8', timeout: 20_000 });
  };
  try {
    writeJson(join(folder, 'config.json'), configuration(way, ['/bin/wait'], filter));
    const began = run(['run', '--detach', '--bundle', folder, id], false, 'ignore');
    if (began.status !== 0) return `run: ${began.status}`;
    writeJson(join(folder, 'process.json'), configuration(way, ['/bin/quick'], filter).process);
    const done = run(['exec', '--process', join(folder, 'process.json'), id], way.terminal === true, 'pipe');
    return done.status === 0 ? 'started' : `exec: ${done.status}: ${done.stdout}${done.stderr}`;
  } finally {
    run(['delete', '--force', id], false, 'ignore');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Conditions may exceed the range of JSON numbers in JavaScript. */
function writeJson(file: string, value: unknown): void {
  writeFileSync(
    file,
    JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? Number(item) : item)),
  );
}

/** Prepares a root file system in the folder, and the calls of a runtime for it. */
function prepare(
  subject: Subject,
  folder: string,
): { entered(args: readonly string[], terminal: boolean): string[] } {
  const root = join(folder, 'rootfs');
  for (const name of ['bin', 'proc', 'dev', 'sys', 'tmp']) mkdirSync(join(root, name), { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const name of ['sleep', 'true']) symlinkSync('busybox', join(root, 'bin', name));
  const global = [
    '--root',
    join(folder, 'state'),
    ...(subject.kind === 'crun' ? ['--cgroup-manager=disabled'] : []),
  ];
  return {
    // crun 1.8 refuses hybrid cgroups; script(1) provides the terminal.
    entered(args, terminal) {
      const command = [subject.path, ...global, ...args].map((word) => `'${word}'`).join(' ');
      const shown = terminal ? `exec script -qec "${command}" /dev/null` : `exec ${command}`;
      return ['unshare', '-m', 'sh', '-c', `umount /sys/fs/cgroup/unified 2>/dev/null; ${shown}`];
    },
  };
}

/** Denies one call that no program makes: only the existence of a filter matters. */
const PERMISSIVE = {
  defaultAction: 'SCMP_ACT_ALLOW',
  architectures: ['SCMP_ARCH_X86_64'],
  syscalls: [{ names: ['kexec_load'], action: 'SCMP_ACT_ERRNO' }],
};

function configuration(way: Way, args: readonly string[], seccomp: unknown = PERMISSIVE) {
  const capabilities = ['CAP_CHOWN', 'CAP_SETUID', 'CAP_SETGID'];
  const mapping = [{ containerID: 0, hostID: 0, size: 65_536 }];
  const id = way.user ?? 0;
  return {
    ociVersion: '1.0.2',
    process: {
      // A container whose process has a terminal cannot be started in the background without a console
      // socket.
      terminal: way.terminal === true && (args[0] === '/bin/true' || args[0] === '/bin/quick'),
      user: { uid: id, gid: id, additionalGids: [7] },
      args,
      env: ['PATH=/bin'],
      cwd: '/',
      noNewPrivileges: way.noNewPrivileges === true,
      capabilities: Object.fromEntries(
        ['bounding', 'effective', 'permitted'].map((set) => [set, capabilities]),
      ),
    },
    root: { path: 'rootfs' },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
    ],
    linux: {
      namespaces: [...['pid', 'ipc', 'uts', 'mount'], ...(way.userNamespace === true ? ['user'] : [])].map(
        (type) => ({ type }),
      ),
      ...(way.userNamespace === true && { uidMappings: mapping, gidMappings: mapping }),
      seccomp,
    },
  };
}
