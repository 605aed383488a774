import { readFileSync, readdirSync } from 'node:fs';
import { closeFd, pidfdOpen, pidfdSendSignal } from '../../base/kernel/index.ts';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';

const SIGKILL = 9;

/** A pidfd of that very process: looked at again after opening, since the pid may have been reused before. Undefined when it is gone. */
export function openProcess(identity: ProcessIdentity): number | undefined {
  if (!sameProcess(identity)) return undefined;
  let pidfd: number;
  try {
    pidfd = pidfdOpen(identity.pid);
  } catch {
    return undefined;
  }
  if (processIdentity(identity.pid)?.startTime === identity.startTime) return pidfd;
  closeFd(pidfd);
  return undefined;
}

/** By pidfd, so that a reused pid is never hit. A process that is gone needs no signal. */
export function signalProcess(identity: ProcessIdentity | undefined, signal: number): void {
  const pidfd = identity === undefined ? undefined : openProcess(identity);
  if (pidfd === undefined) return;
  try {
    pidfdSendSignal(pidfd, signal);
  } catch {
    // It ended between the two calls.
  } finally {
    closeFd(pidfd);
  }
}

/** Tells the end of a process once, also one that happened before. The returned function stops the watch. */
export function watchProcess(reactor: Pick<Reactor, 'onExit'>, identity: ProcessIdentity, tell: () => void): () => void {
  const pidfd = openProcess(identity);
  if (pidfd === undefined) {
    const soon = setImmediate(tell);
    return () => clearImmediate(soon);
  }
  let open = true;
  const stop = (): void => {
    if (!open) return;
    open = false;
    unsubscribe();
    closeFd(pidfd);
  };
  const unsubscribe = reactor.onExit(pidfd, () => {
    stop();
    tell();
  });
  return stop;
}

/** Every other process with exactly this argument. */
export function processesWithArgument(argument: string): ProcessIdentity[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').includes(argument) ? [processIdentity(Number(name))] : [];
      } catch {
        return [];
      }
    })
    .filter((identity) => identity !== undefined);
}

/** Kills every other process with exactly this argument, and those that they start meanwhile, until none is left or a second has passed. */
export async function endProcessesWithArgument(argument: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const found = processesWithArgument(argument);
    if (found.length === 0) return;
    for (const identity of found) signalProcess(identity, SIGKILL);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
