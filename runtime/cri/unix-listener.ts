import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { dirname } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { makeFolderSync } from '../../base/storage/index.ts';

/** `sun_path` holds 108 bytes with its final NUL (unix(7)). */
const longestPath = 107;

export interface UnixListener {
  /** Stops accepting and removes the socket file, if it is still the one that was made here. */
  close(): void;
}

/**
 * Listens on a unix socket of mode 0660, owned by root and `group`. A socket file that nobody listens on is replaced.
 * Throws CRI_SOCKET_IN_USE, CRI_SOCKET_OCCUPIED (another sort of file), CRI_SOCKET_PATH or CRI_SOCKET_LISTEN.
 */
export async function listenUnix(
  path: string,
  options: { readonly group: number; readonly onConnection: (socket: Socket) => void },
): Promise<UnixListener> {
  if (!path.startsWith('/') || Buffer.byteLength(path) > longestPath) {
    throw failure(
      'CRI_SOCKET_PATH',
      'invalid',
      path,
      `a socket path must be absolute and at most ${longestPath} bytes long`,
      'give another path with --socket',
    );
  }
  await clearStale(path);
  try {
    makeFolderSync(dirname(path), options.group === 0 ? 0o700 : 0o711);
    const server = createServer(options.onConnection);
    await bind(server, path);
    chownSync(path, 0, options.group);
    chmodSync(path, 0o660);
    const made = lstatSync(path);
    return { close: () => closeListener(server, path, made.ino) };
  } catch (thrown) {
    throw failure(
      'CRI_SOCKET_LISTEN',
      'precondition',
      path,
      reasonOf(thrown),
      'run as root and give a writable folder with --socket',
      thrown,
    );
  }
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The bind happens inside listen(): with this umask the socket is never open to others, not even for a moment.
    const before = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

function closeListener(server: Server, path: string, inode: number): void {
  try {
    // libuv unlinks by name when it closes; a successor's socket under the same name must stay.
    if (lstatSync(path).ino !== inode) server.unref();
    else {
      server.close();
      unlinkSync(path);
    }
  } catch {
    server.close();
  }
}

async function clearStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw failure(
      'CRI_SOCKET_OCCUPIED',
      'precondition',
      path,
      'a file that is not a socket stands there',
      'move it away or give another path with --socket',
    );
  }
  const refusal = await probe(path);
  if (refusal === 'ECONNREFUSED') unlinkSync(path);
  else if (refusal !== 'ENOENT') {
    throw failure(
      'CRI_SOCKET_IN_USE',
      'already-exists',
      path,
      'another process listens there',
      'stop it or give another path with --socket',
    );
  }
}

/** The errno of a connection attempt, or undefined when it was accepted. */
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
  kind: 'invalid' | 'precondition' | 'already-exists',
  path: string,
  why: string,
  fix: string,
  cause?: unknown,
) {
  return new PortcullisError({ code, kind, attempted: 'listen on', on: path, why, fix, cause });
}
