import {
  closeFd,
  onProcessEnd,
  pidfdOpen,
  pidfdSendSignal,
  reapProcess,
  spawnProcess,
} from '../../base/kernel/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';

/**
 * Starts programs from the calling Worker itself, and reaps them in its own event loop. No other thread is
 * involved.
 */
export const startLocally: StartProgram = (program) => {
  const pid = spawnProcess(program);
  // The process is not reaped yet, so the pid is still its own.
  const pidfd = pidfdOpen(pid);
  let gone = false;
  const exited = new Promise<number>((resolve) => {
    onProcessEnd(pidfdOpen(pid), () => {
      const end = reapProcess(pid);
      gone = true;
      closeFd(pidfd);
      resolve(end === undefined ? 255 : 'code' in end ? end.code : 128 + end.signal);
    });
  });
  const child: Child = {
    pid,
    exited,
    kill: (signal) => {
      if (!gone) pidfdSendSignal(pidfd, signal);
    },
  };
  return Promise.resolve(child);
};
