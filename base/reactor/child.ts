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

/** Children are started in the kernel's Worker, and reaped when the reactor tells their end. */
export function programStarter(reactor: Reactor, kernel: Pick<Kernel, 'spawnProcess'>): StartProgram {
  return async (program) => {
    const pid = await kernel.spawnProcess(program);
    // Not reaped yet, so the pid is still its own.
    const pidfd = pidfdOpen(pid);
    let gone = false;
    const exited = new Promise<number>((resolve) => {
      reactor.onExit(pidfd, () => {
        const end = reapProcess(pid);
        gone = true;
        closeFd(pidfd);
        resolve(end === undefined ? 255 : 'code' in end ? end.code : 128 + end.signal);
      });
    });
    return {
      pid,
      exited,
      kill: (signal) => {
        if (!gone) pidfdSendSignal(pidfd, signal);
      },
    };
  };
}
