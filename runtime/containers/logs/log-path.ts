import { PortcullisError } from '../../../base/errors/index.ts';

/** A file name has at most 255 bytes. A reopened log needs four of them for `.tmp`. */
const longestName = 251;

/** Returns the names of a log path below the log folder of its pod: folders, and the file. */
export function namesOfLog(logPath: string): string[] {
  return logPath.split('/').filter((part) => part !== '' && part !== '.');
}

/**
 * Returns the path of the container log; empty when the pod has no log folder. Refuses every path that is not
 * relative or that could leave the folder (a path that left it once made the host unmount a path of the
 * attacker's choice).
 * @throws PortcullisError RUNTIME_BAD_LOG_PATH
 */
export function containerLogPath(logDirectory: string, logPath: string): string {
  if (logDirectory === '' || logPath === '') return '';
  const parts = namesOfLog(logPath);
  const unfit = parts.some(
    (part) => part === '..' || Buffer.byteLength(part) > longestName || /\p{Cc}/u.test(part),
  );
  if (logPath.startsWith('/') || unfit || parts.length === 0) {
    throw new PortcullisError({
      code: 'RUNTIME_BAD_LOG_PATH',
      kind: 'invalid',
      attempted: 'create container with log_path',
      on: JSON.stringify(logPath),
      why: `it is not a relative path below the log folder of the pod, with names of at most ${longestName} bytes and without control characters`,
      fix: 'give a relative path without ".."',
    });
  }
  return [logDirectory.replace(/\/+$/, ''), ...parts].join('/');
}
