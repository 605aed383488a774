import { cString, checked, kernelError, uninterrupted } from '../ffi/errno.ts';
import { closeFd } from '../files/files.ts';
import { glibc } from '../ffi/libc.ts';
import { openNullDevice } from '../mounts/null-device.ts';
import { joinNewKeyring } from './keyring.ts';

const c = {
  posixSpawn: glibc('posix_spawn', 'int', ['void *', 'str', 'void *', 'void *', 'str *', 'str *']),
  actionsInit: glibc('posix_spawn_file_actions_init', 'int', ['void *']),
  actionsDestroy: glibc('posix_spawn_file_actions_destroy', 'int', ['void *']),
  addDup2: glibc('posix_spawn_file_actions_adddup2', 'int', ['void *', 'int', 'int']),
  addCloseFrom: glibc('posix_spawn_file_actions_addclosefrom_np', 'int', ['void *', 'int']),
  addChdir: glibc('posix_spawn_file_actions_addchdir_np', 'int', ['void *', 'str']),
  attrInit: glibc('posix_spawnattr_init', 'int', ['void *']),
  attrDestroy: glibc('posix_spawnattr_destroy', 'int', ['void *']),
  attrFlags: glibc('posix_spawnattr_setflags', 'int', ['void *', 'int']),
  attrMask: glibc('posix_spawnattr_setsigmask', 'int', ['void *', 'void *']),
  attrDefault: glibc('posix_spawnattr_setsigdefault', 'int', ['void *', 'void *']),
  waitpid: glibc('waitpid', 'int', ['int', 'void *', 'int']),
  pipe2: glibc('pipe2', 'int', ['void *', 'int']),
};

// Room for glibc's opaque structures (80 and 336 bytes on 64-bit Linux: spawn.h) and for sigset_t (128
// bytes).
const actionsSize = 128;
const attributesSize = 512;
const signalSetSize = 128;
const POSIX_SPAWN_SETPGROUP = 0x02;
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const O_CLOEXEC = 0o2000000;
const WNOHANG = 1;

export interface SpawnedProcess {
  /** An absolute path: PATH is not searched. */
  readonly path: string;
  /** argv, starting with the program's own name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /**
   * The child's descriptors 0, 1, 2 …: one of our descriptors each, or `null` for a separate null device. It
   * inherits nothing else.
   */
  readonly descriptors: readonly (number | null)[];
  /** The child leads its own process group, so that a signal can reach it with its children. */
  readonly ownGroup?: boolean;
  /** The child gets a new session keyring, so that it does not possess the keys of this process. */
  readonly ownKeyring?: boolean;
}

/**
 * Starts a program with posix_spawn(3), without copying this process's page tables (fork of a large process
 * blocks its thread for milliseconds). The child has default signal dispositions and an empty signal mask.
 * The caller must reap it: {@link reapProcess}.
 * @returns the pid
 * @throws KERNEL_<ERRNO>, including errors of the exec
 */
export function spawnProcess(process: SpawnedProcess): number {
  const actions = Buffer.alloc(actionsSize);
  const attributes = Buffer.alloc(attributesSize);
  const ok = (result: number, call: string): void => {
    if (result !== 0) throw kernelError(result, call, process.path);
  };
  ok(c.actionsInit(actions), 'posix_spawn_file_actions_init');
  ok(c.attrInit(attributes), 'posix_spawnattr_init');
  let device: number | undefined;
  try {
    if (process.cwd !== undefined)
      ok(c.addChdir(actions, cString(process.cwd, 'posix_spawn')), 'posix_spawn_file_actions_addchdir_np');
    for (const [target, source] of process.descriptors.entries()) {
      // This is not the machine's /dev/null, because an OCI runtime gives its standard streams to the user of
      // a container. It also works when the numbers are equal: glibc then removes the close-on-exec flag.
      ok(
        c.addDup2(actions, source ?? (device ??= openNullDevice()), target),
        'posix_spawn_file_actions_adddup2',
      );
    }
    // Our descriptors are close-on-exec. Those that a library or the starter of this process left open are
    // not.
    ok(c.addCloseFrom(actions, process.descriptors.length), 'posix_spawn_file_actions_addclosefrom_np');
    const everySignal = Buffer.alloc(signalSetSize, 0xff);
    ok(c.attrMask(attributes, Buffer.alloc(signalSetSize)), 'posix_spawnattr_setsigmask');
    ok(c.attrDefault(attributes, everySignal), 'posix_spawnattr_setsigdefault');
    // The group defaults to 0: the child's own.
    const group = process.ownGroup === true ? POSIX_SPAWN_SETPGROUP : 0;
    ok(
      c.attrFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | group),
      'posix_spawnattr_setflags',
    );
    const environment = Object.entries(process.env).flatMap(([key, value]) =>
      value === undefined ? [] : [cString(`${key}=${value}`, 'posix_spawn')],
    );
    const pid = Buffer.alloc(4);
    if (process.ownKeyring === true) joinNewKeyring();
    ok(
      c.posixSpawn(
        pid,
        cString(process.path, 'posix_spawn'),
        actions,
        attributes,
        [...process.argv.map((argument) => cString(argument, 'posix_spawn')), null],
        [...environment, null],
      ),
      'posix_spawn',
    );
    return pid.readInt32LE(0);
  } finally {
    if (device !== undefined) closeFd(device);
    c.actionsDestroy(actions);
    c.attrDestroy(attributes);
    // The programs that this thread starts later do not share the keyring of this child.
    if (process.ownKeyring === true) joinNewKeyring();
  }
}

/** How a process ended: its exit code, or the signal that killed it. */
export type ProcessEnd = { readonly code: number } | { readonly signal: number };

/**
 * Calls waitpid(2) without waiting. Returns the end of a child of this process, once; undefined while it
 * lives.
 * @throws KERNEL_ECHILD when it is not a child of this process, or was reaped before
 */
export function reapProcess(pid: number): ProcessEnd | undefined {
  const status = Buffer.alloc(4);
  const reaped = uninterrupted(() => c.waitpid(pid, status, WNOHANG), 'waitpid', String(pid));
  if (reaped === 0) return undefined;
  const value = status.readInt32LE(0);
  // Encoding: sys/wait.h.
  const signal = value & 0x7f;
  return signal === 0 ? { code: (value >> 8) & 0xff } : { signal };
}

export interface Pipe {
  readonly read: number;
  readonly write: number;
}

/** Calls pipe2(2); both ends are close-on-exec. */
export function openPipe(): Pipe {
  const ends = Buffer.alloc(8);
  checked(c.pipe2(ends, O_CLOEXEC), 'pipe2', '');
  return { read: ends.readInt32LE(0), write: ends.readInt32LE(4) };
}

/**
 * Opens two pipes. If the second cannot be opened, neither stays open.
 * @throws PortcullisError with the error of pipe2(2)
 */
export function openPipes(): readonly [Pipe, Pipe] {
  const first = openPipe();
  try {
    return [first, openPipe()];
  } catch (cause) {
    for (const fd of [first.read, first.write]) closeFd(fd);
    throw cause;
  }
}
