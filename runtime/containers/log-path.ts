import { PortcullisError } from '../../base/errors/index.ts';

/** A file name has 255 bytes at most, of which a reopened log needs four for `.tmp`. */
const longestName = 251;

/**
 * Where the container's log goes; empty when the pod has no log folder. A relative path that stays below the folder, whatever it says
 * (a path that leaves it once made the host unmount what an attacker chose).
 * @throws PortcullisError RUNTIME_BAD_LOG_PATH
 */
export function containerLogPath(logDirectory: string, logPath: string): string {
  if (logDirectory === '' || logPath === '') return '';
  const parts = logPath.split('/').filter((part) => part !== '' && part !== '.');
  const unfit = parts.some((part) => part === '..' || Buffer.byteLength(part) > longestName || /\p{Cc}/u.test(part));
  if (logPath.startsWith('/') || unfit || parts.length === 0) {
    throw new PortcullisError({
      code: 'RUNTIME_BAD_LOG_PATH',
      kind: 'invalid',
      attempted: 'create container with log_path',
      on: JSON.stringify(logPath),
      why: `it is not a relative path below the pod’s log folder, of names of at most ${longestName} bytes without control characters`,
      fix: 'give a relative path without ".."',
    });
  }
  return [logDirectory.replace(/\/+$/, ''), ...parts].join('/');
}
