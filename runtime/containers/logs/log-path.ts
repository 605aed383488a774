import { failure } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';

/** A file name has at most 255 bytes. A reopened log needs four of them for `.tmp`. */
const longestName = 251;
/** A path has at most 4095 bytes (PATH_MAX with its NUL), of which a reopened log needs the same four. */
const longestPath = 4091;

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
  if (logPath.startsWith('/') || unfit || parts.length === 0)
    throw badLogPath(
      logPath,
      `it is not a relative path below the log folder of the pod, with names of at most ${longestName} bytes and without control characters`,
      'give a relative path without ".."',
    );
  const path = [logDirectory.replace(/\/+$/, ''), ...parts].join('/');
  if (Buffer.byteLength(path) > longestPath)
    throw badLogPath(
      logPath,
      `with the log folder of the pod, it is longer than ${longestPath} bytes`,
      'give a shorter path',
    );
  return path;
}

function badLogPath(logPath: string, why: string, fix: string): PortcullisError {
  return failure(
    'RUNTIME_BAD_LOG_PATH',
    'invalid',
    'create container with log_path',
    JSON.stringify(logPath.slice(0, 500)),
    why,
    fix,
  );
}
