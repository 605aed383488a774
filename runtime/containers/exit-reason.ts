import type { Exit } from '../monitor/exits.ts';

/**
 * Returns how an exit is reported: a CamelCase reason and a sentence (cri-api ContainerStatus). As in other
 * runtimes, `OOMKilled` does not depend on the exit code: a program may lose a child and end with 0. Pure.
 */
export function exitReason(exit: Exit, outOfMemory: boolean): { reason: string; message: string } {
  if (!exit.fromMonitor) {
    return {
      reason: 'MonitorLost',
      message: `the container's monitor (conmon) recorded no exit: it has ended or does not respond; exit code ${exit.code} ${exit.code === 255 ? 'means that the exit code is unknown' : 'was reported by the kernel'}`,
    };
  }
  if (outOfMemory)
    return {
      reason: 'OOMKilled',
      message: 'the kernel killed a process of the container because memory ran out',
    };
  return exit.code === 0 ? { reason: 'Completed', message: '' } : { reason: 'Error', message: '' };
}
