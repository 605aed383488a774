import { chmodSync, chownSync, lstatSync, readFileSync, realpathSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { PortcullisError, fileReason, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';

/** Keeps users other than root from the backend's socket. Root cannot be kept from it. */
export interface BackendLock {
  close(): void;
}

/** In ms: a backend that starts again recreates its socket, with its own mode. */
const lookMs = 2_000;

/**
 * Gives the socket to root alone (mode 0600), now and whenever the backend has created it again. Reports
 * connections of other processes to it. The socket stays locked when the proxy ends.
 * @param ours returns how many connections this process has to the backend
 * @throws PortcullisError PROXY_BAD_BACKEND when the path is not a socket, or cannot be locked
 */
export function lockBackend(socket: string, ours: () => number, log: Logger): BackendLock {
  let reportedOthers = 0;
  lockNow(socket, log);
  const look = (): void => {
    try {
      lockNow(socket, log);
      // A connection of this process may be unknown to a backend that ended or starts at this moment.
      const others = Math.max(0, connectionsTo(socket) - ours());
      if (others > reportedOthers)
        log.warn(
          { socket, connections: others },
          'other processes of root are connected to the backend: their calls have no verdict',
        );
      reportedOthers = others;
    } catch (thrown) {
      log.debug({ socket, why: reasonOf(thrown) }, 'the socket of the backend cannot be locked now');
    }
  };
  const timer = setInterval(look, lookMs);
  timer.unref();
  return { close: () => clearInterval(timer) };
}

/**
 * Refuses a backend at the path of the proxy's own socket: the proxy would replace what a stopped backend
 * left there, and then call itself.
 * @throws PortcullisError PROXY_BAD_BACKEND
 */
export function refuseOwnSocket(backend: string, own: string): void {
  const placeOf = (path: string): string => join(realPath(dirname(path)), basename(path));
  if (placeOf(backend) === placeOf(own))
    throw bad(
      backend,
      'the proxy itself would listen there',
      'name the CRI socket of the backend with --backend, and another path with --socket',
    );
}

function statsOf(socket: string): Stats | undefined {
  try {
    return lstatSync(socket, { throwIfNoEntry: false });
  } catch (thrown) {
    throw bad(socket, fileReason(thrown, socket));
  }
}

function lockNow(socket: string, log: Logger): void {
  const found = statsOf(socket);
  if (found === undefined || !found.isSocket())
    throw bad(socket, found === undefined ? 'the file does not exist' : 'it is not a socket');
  const mode = found.mode & 0o777;
  if (mode === 0o600 && found.uid === 0 && found.gid === 0) return;
  try {
    chownSync(socket, 0, 0);
    chmodSync(socket, 0o600);
  } catch (thrown) {
    throw bad(socket, `its mode cannot be set: ${reasonOf(thrown)}`);
  }
  const before = { mode: mode.toString(8), uid: found.uid, gid: found.gid };
  log.info({ socket, before }, 'locked the socket of the backend for all users but root');
}

/**
 * Returns how many connections the listener at a path has accepted (proc(5), /proc/net/unix). The listener
 * may have named the path otherwise: CRI-O listens in /var/run, which is a link to /run.
 */
export function connectionsTo(socket: string): number {
  const connected = '03';
  const real = realPath(socket);
  const counts = new Map<string, number>();
  for (const line of readFileSync('/proc/net/unix', 'utf8').split('\n')) {
    const [, , , , , state, , path] = line.trim().split(/\s+/);
    if (state !== connected || path === undefined || basename(path) !== basename(socket)) continue;
    counts.set(path, (counts.get(path) ?? 0) + 1);
  }
  let sum = 0;
  for (const [path, count] of counts) if (realPath(path) === real) sum += count;
  return sum;
}

/** The listener of a path that is gone is another one. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

const startBackend =
  'start the backend first, and set the path of its CRI socket: --backend unix:///run/containerd/containerd.sock';

function bad(socket: string, why: string, fix = startBackend): PortcullisError {
  return new PortcullisError({
    code: 'PROXY_BAD_BACKEND',
    kind: 'precondition',
    attempted: 'use the backend at',
    on: socket,
    why,
    fix,
  });
}
