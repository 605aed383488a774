import { chmodSync, chownSync, lstatSync, rmSync, unlinkSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { dirname } from 'node:path';
import { closeFd, listenUnix as listenAtPath } from '../../base/kernel/index.ts';
import { PortcullisError, fileReason, meansShortage, reasonOf } from '../../base/errors/index.ts';
import { makeFolderSync } from '../../base/storage/index.ts';

/** `sun_path` holds 108 bytes with its final NUL (unix(7)). */
const longestPath = 107;

export interface UnixListener {
  /** Stops accepting and removes the socket file, if it is still the one that this listener created. */
  close(): void;
}

export interface UnixListenerOptions {
  readonly group: number;
  readonly onConnection: (socket: Socket) => void;
}

/**
 * Listens on a unix socket with mode 0660, owned by root and `group`. Replaces a socket file without a
 * listener.
 * Throws CRI_SOCKET_IN_USE, CRI_SOCKET_OCCUPIED (another type of file), CRI_SOCKET_PATH or CRI_SOCKET_LISTEN.
 */
export function listenUnix(
  path: string,
  { group, onConnection }: UnixListenerOptions,
): Promise<UnixListener> {
  return listenAt(path, group, async () => {
    const server = createServer(onConnection);
    await bind(server, path);
    return (isOurs) => {
      // libuv unlinks by name when it closes, but a successor's socket with the same name must stay.
      if (isOurs) server.close();
      else server.unref();
    };
  });
}

/**
 * Like {@link listenUnix}, but returns its listening descriptor instead of connections, for code that accepts
 * them elsewhere. The descriptor is closed with the listener.
 */
export async function openUnixSocket(path: string): Promise<UnixListener & { readonly fd: number }> {
  let fd = -1;
  const listener = await listenAt(path, 0, () => {
    fd = unseen(() => listenAtPath(path));
    return Promise.resolve(() => closeFd(fd));
  });
  return { ...listener, fd };
}

/**
 * Listens at a path.
 * @param listen returns the function that ends it, which receives whether the socket file is still the one
 * that it created
 */
async function listenAt(
  path: string,
  group: number,
  listen: () => Promise<(isOurs: boolean) => void>,
): Promise<UnixListener> {
  if (!path.startsWith('/') || Buffer.byteLength(path) > longestPath) {
    throw failure(
      'CRI_SOCKET_PATH',
      'invalid',
      path,
      `a socket path must be absolute and at most ${longestPath} bytes long`,
      'use another path with --socket',
    );
  }
  await clearStale(path);
  try {
    makeFolderSync(dirname(path), group === 0 ? 0o700 : 0o711);
    const end = await listen();
    chownSync(path, 0, group);
    chmodSync(path, 0o660);
    const made = lstatSync(path);
    return { close: () => closeListener(end, path, made.ino) };
  } catch (thrown) {
    const isShort = meansShortage(thrown);
    throw failure(
      'CRI_SOCKET_LISTEN',
      isShort ? 'exhausted' : 'precondition',
      path,
      reasonOf(thrown),
      isShort
        ? 'check the limit of open files (`LimitNOFILE`, `fs.file-max`) and free memory, and start again'
        : 'run as root, and use a writable folder with --socket',
      thrown,
    );
  }
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    unseen(() =>
      server.listen(path, () => {
        server.off('error', reject);
        // A failed accept: the client is lost. Without a listener the process would end, too.
        server.on('error', () => undefined);
        resolve();
      }),
    );
  });
}

/**
 * The bind happens inside `listen`. With this umask, other users can never access the socket, not even for a
 * moment.
 */
function unseen<T>(listen: () => T): T {
  const before = process.umask(0o177);
  try {
    return listen();
  } finally {
    process.umask(before);
  }
}

function closeListener(end: (isOurs: boolean) => void, path: string, inode: number): void {
  const existing = lstatSync(path, { throwIfNoEntry: false });
  const isOurs = existing === undefined || existing.ino === inode;
  end(isOurs);
  if (isOurs) rmSync(path, { force: true });
}

function statsOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (thrown) {
    const fix = 'use a path in a folder with --socket';
    throw failure('CRI_SOCKET_LISTEN', 'precondition', path, fileReason(thrown, path), fix, thrown);
  }
}

async function clearStale(path: string): Promise<void> {
  if (await refuseListener(path)) unlinkSync(path);
}

/**
 * Checks whether a process listens at the path. Changes nothing.
 * @returns whether a socket file without a listener exists
 * @throws CRI_SOCKET_IN_USE · CRI_SOCKET_OCCUPIED (another type of file)
 */
export async function refuseListener(path: string): Promise<boolean> {
  const found = statsOf(path);
  if (found === undefined) return false;
  if (!found.isSocket()) {
    throw failure(
      'CRI_SOCKET_OCCUPIED',
      'precondition',
      path,
      'the path is a file that is not a socket',
      'move the file away, or use another path with --socket',
    );
  }
  const refusal = await probe(path);
  if (refusal === 'ECONNREFUSED') return true;
  if (refusal === 'ENOENT') return false;
  throw failure(
    'CRI_SOCKET_IN_USE',
    'already-exists',
    path,
    'another process listens at this socket',
    'stop that process, or use another path with --socket',
  );
}

/** Returns the errno of a connection attempt, or undefined when it was accepted. */
function probe(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
  });
}

function failure<Code extends string>(
  code: Code,
  kind: 'invalid' | 'precondition' | 'already-exists' | 'exhausted',
  path: string,
  why: string,
  fix: string,
  cause?: unknown,
) {
  return new PortcullisError({ code, kind, attempted: 'listen on', on: path, why, fix, cause });
}
