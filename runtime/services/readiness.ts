import { access, constants } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { errnoOf, isPortcullisError, meaningOfErrno, PortcullisError } from '../../base/errors/index.ts';

/** A sysctl that the daemon sets in every pod with a network of its own. */
const podSysctl = '/proc/sys/net/ipv4/ip_unprivileged_port_start';

/** Why no pod or no container can start on this node, as a condition of the CRI reports it. */
export interface Obstacle {
  readonly reason: 'ReadOnlySysctls' | 'MonitorMissing' | 'DatabaseNotWritable';
  readonly message: string;
}

/** How long a report waits for the database. A slow disk is not an obstacle, one that hangs is. */
const patienceMs = 1_000;
/** How long a write that succeeded counts as the next one: a kubelet requests the status every 5 s. */
const writtenMs = 30_000;
/** A disk that has not ended a write for this long does not answer. */
const hungMs = 30_000;
/** Failures of a write that last. A full disk is not one: it passes when files are removed. */
const lasting: ReadonlySet<string> = new Set([
  'STORAGE_DAMAGED',
  'STORAGE_IO',
  'STORAGE_NO_ACCESS',
  'STORAGE_READ_ONLY',
]);

/**
 * Looks for causes that make every RunPodSandbox or every CreateContainer fail until somebody changes the
 * node. Undefined: none was found. A failure that may pass, such as a lack of memory, is not an obstacle.
 * @param conmon absolute path
 * @param write changes the database durably
 */
export async function findObstacle(
  conmon: string,
  write: () => Promise<unknown>,
  sysctl = podSysctl,
): Promise<Obstacle | undefined> {
  const [sysctls, monitor, failedWrite] = await Promise.all([
    errnoOfAccess(sysctl, constants.W_OK),
    errnoOfAccess(conmon, constants.X_OK),
    lastingFailureOf(write),
  ]);
  if (failedWrite !== undefined)
    return {
      reason: 'DatabaseNotWritable',
      message: `no pod or container can start, and ends and removals are not recorded: ${failedWrite}`,
    };
  if (meaningOfErrno(sysctls) === 'read-only')
    return {
      reason: 'ReadOnlySysctls',
      message: `no pod can start: /proc/sys is read-only (${sysctls}); mount it writable, for example by running the daemon outside of a container, or in a privileged one`,
    };
  if (monitor === 'EACCES' || meaningOfErrno(monitor) === 'gone')
    return {
      reason: 'MonitorMissing',
      message: `no container can start: ${conmon} is missing or not executable (${monitor}); install it (\`portcullis doctor --fix\`)`,
    };
  return undefined;
}

/**
 * Returns a function that repeats a write that succeeded only after 30 s, or if it is called with `always`,
 * so that polling for the status causes little work for the disk. A write that failed is always repeated, and
 * one that has not ended is waited for. If it has not ended for 30 s, the function throws STORAGE_IO.
 * @param path of what is written
 * @param now milliseconds of a clock that is never set
 */
export function seldom(
  write: () => Promise<unknown>,
  path: string,
  now: () => number = () => performance.now(),
): (always: boolean) => Promise<void> {
  let writtenAt = -Infinity;
  let pending: { readonly since: number; readonly end: Promise<void> } | undefined;
  const writeOnce = async (): Promise<void> => {
    try {
      await write();
      writtenAt = now();
    } finally {
      pending = undefined;
    }
  };
  return async (always) => {
    if (pending !== undefined && now() - pending.since >= hungMs) throw hung(path);
    if (pending === undefined) {
      if (!always && now() - writtenAt < writtenMs) return;
      writtenAt = -Infinity;
      pending = { since: now(), end: Promise.resolve().then(writeOnce) };
    }
    await pending.end;
  };
}

function hung(path: string): PortcullisError {
  return new PortcullisError({
    code: 'STORAGE_IO',
    kind: 'unavailable',
    attempted: 'write to database',
    on: path,
    why: `a write has not ended for ${hungMs / 1000} s or longer`,
    fix: 'check the load of the machine, the disk and the kernel log; the write continues when the disk answers',
  });
}

function errnoOfAccess(path: string, mode: number): Promise<string | undefined> {
  return access(path, mode).then(() => undefined, errnoOf);
}

function lastingFailureOf(write: () => Promise<unknown>): Promise<string | undefined> {
  return Promise.race([
    pause(patienceMs, undefined, { ref: false }),
    write().then(
      () => undefined,
      (thrown: unknown) =>
        isPortcullisError(thrown) && lasting.has(thrown.code) ? thrown.message : undefined,
    ),
  ]);
}
