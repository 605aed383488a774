import { setTimeout as pause } from 'node:timers/promises';
import { closeFd, pidfdOpen, pidfdSendSignal, reapProcess } from '../kernel/index.ts';
import type { Kernel, SpawnedProcess } from '../kernel/index.ts';
import type { Reactor } from './reactor.ts';

/** A child process, held by a pidfd, so that no signal can reach another process that got the same pid. */
export interface Child {
  readonly pid: number;
  /** Its exit code, or 128 plus the signal that killed it. Resolves once the child is reaped. */
  readonly exited: Promise<number>;
  /** Sends a signal. Does nothing after the child has ended. */
  kill(signal: number): void;
}

/**
 * Starts a program. The caller may close its descriptors once this resolves. @throws KERNEL_<ERRNO> when the
 * program cannot be started
 */
export type StartProgram = (program: SpawnedProcess) => Promise<Child>;

const SIGKILL = 9;
const lookAgainMs = 20;

/**
 * Starts children in the kernel's Worker, and reaps them when the reactor reports their end. A child that
 * cannot be held, for example because no descriptor is free for its pidfd, is killed and reaped before the
 * failure is reported. Otherwise it would continue and no process would reap it.
 */
export function programStarter(reactor: Reactor, kernel: Pick<Kernel, 'spawnProcess'>): StartProgram {
  return async (program) => {
    const pid = await kernel.spawnProcess(program);
    let pidfd: number;
    let gone = false;
    const end = Promise.withResolvers<number>();
    try {
      // The child is not reaped yet, so the pid is still its own.
      pidfd = hold(reactor, pid, (opened) => {
        const how = reapProcess(pid);
        gone = true;
        closeFd(opened);
        end.resolve(how === undefined ? 255 : 'code' in how ? how.code : 128 + how.signal);
      });
    } catch (cause) {
      process.kill(pid, SIGKILL);
      while (reapProcess(pid) === undefined) await pause(lookAgainMs);
      throw cause;
    }
    const { promise: exited } = end;
    return {
      pid,
      exited,
      kill: (signal) => {
        if (!gone) pidfdSendSignal(pidfd, signal);
      },
    };
  };
}

/** Opens a pidfd of a child and reports the child's end once. Leaves nothing open when it throws. */
function hold(reactor: Reactor, pid: number, report: (pidfd: number) => void): number {
  const pidfd = pidfdOpen(pid);
  try {
    reactor.onExit(pidfd, () => report(pidfd));
    return pidfd;
  } catch (cause) {
    closeFd(pidfd);
    throw cause;
  }
}
