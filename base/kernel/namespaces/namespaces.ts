import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { checked, cString, kernelError } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import { closeFd, openFile } from '../files/files.ts';
import { enter } from '../ffi/ledger.ts';
import { CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, O_RDONLY } from '../ffi/constants.ts';
import { startIoPool } from './io-pool.ts';

const c = {
  unshare: glibc('unshare', 'int', ['int']),
  setns: glibc('setns', 'int', ['int', 'int']),
  sethostname: glibc('sethostname', 'int', ['str', 'size_t']),
  abort: glibc('abort', 'int', []),
  ioctl: glibc('ioctl', 'int', ['int', 'ulong', 'void *']),
};

const NS_GET_NSTYPE = 0xb703;

/** The namespaces that a single thread can leave and join, and that are pinned for a pod. */
export type NamespaceType = 'net' | 'ipc' | 'uts';

export const namespaceFlags: Readonly<Record<NamespaceType, number>> = {
  net: CLONE_NEWNET,
  ipc: CLONE_NEWIPC,
  uts: CLONE_NEWUTS,
};

/**
 * Calls unshare(2) for the calling thread. Use it only in a Worker: on the main thread it would affect
 * everything else.
 */
export function unshare(flags: number): void {
  refuseMainThread('unshare');
  startIoPool();
  checked(c.unshare(flags), 'unshare', `0x${flags.toString(16)}`);
}

/**
 * Calls setns(2) for the calling thread. Use it only in a Worker, and prefer {@link inNamespaces}, which
 * returns to the previous namespaces itself.
 */
export function setns(fd: number, flags: number): void {
  refuseMainThread('setns');
  startIoPool();
  checked(c.setns(fd, flags), 'setns', `fd ${fd}`);
}

/**
 * Moves the main thread, and every thread that it starts from now on, into a new mount namespace
 * (unshare(2)). Threads that run already stay in the old one, so call this only while none of them resolves
 * paths.
 * @throws PortcullisError KERNEL_EPERM on another thread than the main thread, or without CAP_SYS_ADMIN
 */
export function unshareMounts(): void {
  if (!isMainThread)
    throw kernelError('EPERM', 'unshare', 'mount namespace', 'only the main thread can move the process');
  checked(c.unshare(CLONE_NEWNS), 'unshare', 'mount namespace');
}

/** Sets the host name of the calling thread's UTS namespace; at most 64 bytes. */
export function sethostname(name: string): void {
  refuseMainThread('sethostname');
  checked(c.sethostname(cString(name, 'sethostname'), Buffer.byteLength(name)), 'sethostname', name);
}

/**
 * Returns whether the open namespace is of this type (ioctl_ns(2)). @throws KERNEL_ENOTTY if it is not a
 * namespace
 */
export function isNamespaceOf(fd: number, type: NamespaceType): boolean {
  return (
    checked(c.ioctl(fd, NS_GET_NSTYPE, null), 'ioctl NS_GET_NSTYPE', `fd ${fd}`) === namespaceFlags[type]
  );
}

export interface NamespaceFds {
  readonly net?: number;
  readonly ipc?: number;
  readonly uts?: number;
}

/**
 * Enters namespaces, runs `body`, and returns to the previous namespaces. `body` is synchronous and makes
 * only calls of this folder: no await, no `node:fs` callback, no dns, no Worker, because threads that are
 * started inside stay inside. Sockets created inside stay in that namespace and are used later by descriptor.
 * If the return fails, the process aborts, because nothing may continue in a wrong namespace. Throws on the
 * main thread.
 */
export function inNamespaces<T>(fds: NamespaceFds, body: () => T): T {
  const types = (Object.keys(namespaceFlags) as NamespaceType[]).filter((type) => fds[type] !== undefined);
  return inWindow(types, () => {
    for (const type of types) setns(fds[type] ?? -1, namespaceFlags[type]);
    return body();
  });
}

/**
 * Does the same as {@link inNamespaces} in new namespaces of these types. They end with the window unless the
 * body pins them.
 */
export function inNewNamespaces<T>(types: readonly NamespaceType[], body: () => T): T {
  return inWindow(types, () => {
    unshare(types.reduce((flags, type) => flags | namespaceFlags[type], 0));
    return body();
  });
}

const own = new Map<NamespaceType, number>();
let depth = 0;

/**
 * Returns this thread's own namespace, opened once: the return must not need a free descriptor or a readable
 * /proc.
 */
function ownNamespace(type: NamespaceType): number {
  const known = own.get(type);
  if (known !== undefined) return known;
  const fd = enter(openFile(`/proc/thread-self/ns/${type}`, O_RDONLY));
  own.set(type, fd);
  return fd;
}

function inWindow<T>(types: readonly NamespaceType[], body: () => T): T {
  refuseMainThread('namespace window');
  if (depth > 0)
    throw kernelError('EBUSY', 'namespace window', types.join(', '), 'another window is open on this thread');
  const back = types.map((type) => [ownNamespace(type), namespaceFlags[type]] as const);
  depth += 1;
  let result: T;
  try {
    result = body();
  } finally {
    for (const [fd, flag] of back) if (c.setns(fd, flag) === -1) abort(types);
    depth -= 1;
  }
  if (result instanceof Promise)
    throw kernelError(
      'EINVAL',
      'namespace window',
      types.join(', '),
      'the body of a window must be synchronous',
    );
  return result;
}

function abort(types: readonly NamespaceType[]): never {
  writeSync(2, `portcullis: a thread could not leave the namespaces ${types.join(', ')}: aborting\n`);
  c.abort();
  throw new Error('unreachable');
}

function refuseMainThread(call: string): void {
  if (isMainThread)
    throw kernelError('EPERM', call, 'the main thread', 'namespaces of the main thread are never changed');
}

/** Closes the descriptors that the return needs. For a thread that ends while the process continues. */
export function closeOwnNamespaces(): void {
  own.forEach(closeFd);
  own.clear();
}
