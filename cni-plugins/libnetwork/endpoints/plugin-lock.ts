import { fstatSync, mkdirSync, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { O_CREAT, O_RDWR, closeFd, openFile, tryLockFile } from '../../../base/kernel/index.ts';
import type { StartProgram } from '../../../base/reactor/index.ts';
import { endpointBusy } from '../protocol/failures.ts';

/**
 * Plugins that a killed driver started keep running: a program that adds must have ended before its results
 * are removed. Each inherits the lock of its endpoint, which the kernel releases with the last of them.
 * @param patienceMs how long a program may take
 * @throws NETWORK_BUSY
 */
export async function withPluginLock<T>(
  path: string,
  endpoint: string,
  patienceMs: number,
  body: (fd: number) => Promise<T>,
): Promise<T> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  for (const late = performance.now() + patienceMs; ; await pause(20)) {
    const fd = openFile(path, O_RDWR | O_CREAT, 0o600);
    try {
      if (tryLockFile(fd) && exists(path, fd)) {
        try {
          return await body(fd);
        } finally {
          unlinkSync(path);
        }
      }
    } finally {
      closeFd(fd);
    }
    if (performance.now() > late) throw endpointBusy(endpoint);
  }
}

/** The previous holder removed the file. */
const exists = (path: string, fd: number): boolean =>
  statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino;

/** Starts programs that inherit the lock. */
export const holding =
  (startProgram: StartProgram, fd: number): StartProgram =>
  (program) =>
    startProgram({ ...program, descriptors: [...program.descriptors, fd] });
