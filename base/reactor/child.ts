import { setTimeout as pause } from 'node:timers/promises';
import { closeFd, pidfdOpen, pidfdSendSignal, reapProcess } from '../kernel/index.ts';
import type { Kernel, SpawnedProcess } from '../kernel/index.ts';
import type { Reactor } from './reactor.ts';

/** A child process, held by a pidfd: no signal can reach another that took its pid. */
export interface Child {
  readonly pid: number;
  /** Its exit code, or 128 and the signal that killed it. Resolves once it is reaped. */
  readonly exited: Promise<number>;
  /** After its end: nothing happens. */
  kill(signal: number): void;
}

/** Starts a program. The caller's descriptors may be closed once it resolves. @throws KERNEL_<ERRNO> when it can not be started */
export type StartProgram = (program: SpawnedProcess) => Promise<Child>;

const SIGKILL = 9;
const lookAgainMs = 20;

/**
 * Children are started in the kernel's Worker, and reaped when the reactor tells their end. One that cannot be held, as without a free
 * descriptor for its pidfd, is killed and reaped before the failure is reported: otherwise it would go on without anybody to reap it.
 */
export function programStarter(reactor: Reactor, kernel: Pick<Kernel, 'spawnProcess'>): StartProgram {
  return async (program) => {
    const pid = await kernel.spawnProcess(program);
    let pidfd: number;
    let gone = false;
    const end = Promise.withResolvers<number>();
    try {
      // Not reaped yet, so the pid is still its own.
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

/** A pidfd of a child; its end is reported once. Nothing stays open when it throws. */
function hold(reactor: Reactor, pid: number, tell: (pidfd: number) => void): number {
  const pidfd = pidfdOpen(pid);
  try {
    reactor.onExit(pidfd, () => tell(pidfd));
    return pidfd;
  } catch (cause) {
    closeFd(pidfd);
    throw cause;
  }
}
