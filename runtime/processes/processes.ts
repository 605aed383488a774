import { readFileSync, readdirSync } from 'node:fs';
import { meansGone, tolerate, errnoIs } from '../../base/errors/index.ts';
import { closeFd, isErrno, pidfdOpen, pidfdSendSignal } from '../../base/kernel/index.ts';
import { currentBootId, processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';

const SIGKILL = 9;

/**
 * Returns a pidfd of exactly this process. The process is checked after opening, because the pid may have
 * been reused before. Undefined when it no longer exists.
 * @throws PortcullisError when it cannot be determined or opened, for example without free descriptors
 */
export function openProcess(identity: ProcessIdentity): number | undefined {
  if (identity.bootId !== currentBootId()) return undefined;
  // Also if a thread has the pid now, which the kernel refuses with other error numbers (pidfd_open(2)).
  const pidfd = tolerate(
    (cause) => isErrno(cause, 'ESRCH') || !sameProcess(identity),
    () => pidfdOpen(identity.pid),
  );
  if (pidfd === undefined) return undefined;
  let isSame = false;
  try {
    isSame = processIdentity(identity.pid)?.startTime === identity.startTime;
    return isSame ? pidfd : undefined;
  } finally {
    if (!isSame) closeFd(pidfd);
  }
}

/**
 * Sends a signal by pidfd, so that it never reaches another process with a reused pid. A process that no
 * longer exists needs no signal.
 * @throws PortcullisError when the signal cannot be sent, for example without free descriptors
 */
export function signalProcess(identity: ProcessIdentity | undefined, signal: number): void {
  const pidfd = identity === undefined ? undefined : openProcess(identity);
  if (pidfd === undefined) return;
  using opened = new DisposableStack();
  opened.defer(() => closeFd(pidfd));
  signalOpened(pidfd, signal);
}

/** Sends a signal to the process behind a pidfd, unless it has ended. */
export function signalOpened(pidfd: number, signal: number): void {
  // It ended meanwhile.
  tolerate(errnoIs('ESRCH'), () => pidfdSendSignal(pidfd, signal));
}

const lookAgainMs = 200;

/**
 * Opens a process, and reports its end once, even if it happened before. Without free descriptors it retries
 * until the process can be opened. The returned function stops the watch.
 * @param report receives the pidfd, which stays open until the watch is stopped; undefined when the process
 * no longer existed
 */
export function watchEnd(
  reactor: Pick<Reactor, 'onExit'>,
  identity: ProcessIdentity,
  report: (pidfd: number | undefined) => void,
): () => void {
  let stop: () => void;
  const begin = (): void => {
    let pidfd: number | undefined;
    try {
      pidfd = openProcess(identity);
      if (pidfd === undefined) {
        const soon = setImmediate(report, undefined);
        stop = () => clearImmediate(soon);
        return;
      }
      const opened = pidfd;
      const unsubscribe = reactor.onExit(opened, () => report(opened));
      stop = () => {
        unsubscribe();
        closeFd(opened);
      };
    } catch {
      if (pidfd !== undefined) closeFd(pidfd);
      const again = setTimeout(begin, lookAgainMs).unref();
      stop = () => clearTimeout(again);
    }
  };
  begin();
  let open = true;
  return () => {
    if (open) stop();
    open = false;
  };
}

/** Reports the end of a process once, even if it happened before. The returned function stops the watch. */
export function watchProcess(
  reactor: Pick<Reactor, 'onExit'>,
  identity: ProcessIdentity,
  report: () => void,
): () => void {
  const stop = watchEnd(reactor, identity, () => {
    stop();
    report();
  });
  return stop;
}

/**
 * Returns every other process with exactly this argument.
 * @param beside if it is not empty, an argument must also contain one of these texts
 */
export function processesWithArgument(argument: string, beside: readonly string[] = []): ProcessIdentity[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const given = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
        const isMeant = beside.length === 0 || given.some((one) => beside.some((text) => one.includes(text)));
        return isMeant && given.includes(argument) ? [processIdentity(Number(name))] : [];
      } catch (cause) {
        // Our own processes can be read, and processes of other users are irrelevant. An error that says
        // nothing about the process is thrown.
        if (meansGone(cause) || isDenied(cause)) return [];
        throw cause;
      }
    })
    .filter((identity) => identity !== undefined);
}

/**
 * Kills every other process with exactly this argument, and the processes that they start meanwhile, until
 * none is left or a second has passed. An id that users know needs `beside`: they name it to their clients.
 * @param beside as in {@link processesWithArgument}
 * @throws PortcullisError or the error of node:fs when they cannot be found or killed at the end of that
 * second, for example without free descriptors
 */
export async function endProcessesWithArgument(
  argument: string,
  beside: readonly string[] = [],
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const found = processesWithArgument(argument, beside);
      if (found.length === 0) return;
      for (const identity of found) signalProcess(identity, SIGKILL);
    } catch (cause) {
      if (attempt >= 100) throw cause;
    }
    if (attempt >= 100) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function isDenied(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && (thrown.code === 'EACCES' || thrown.code === 'EPERM');
}
