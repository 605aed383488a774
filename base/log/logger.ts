import { fstatSync, statfsSync } from 'node:fs';
import { scopedFields } from './fields.ts';
import { pino, destination, symbols } from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/**
 * A structured logger that writes one JSON object per line. Fields come first, then the message, as in pino.
 */
export interface Logger {
  /** The lowest level that is written, for callers that forward lines from elsewhere. Absent: unknown. */
  readonly level?: string;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(bindings: Record<string, unknown>): Logger;
}

/** The stream to which a logger writes its lines. */
export interface LogStream {
  write(line: string): void;
}

/** Names of fields whose values are never written, at the top level and at the two levels below it. */
const secretFields = [
  'password',
  'passphrase',
  'auth',
  'authorization',
  'Authorization',
  'identityToken',
  'identity_token',
  'registryToken',
  'registry_token',
  'privateKey',
  'token',
  'credentials',
];

/** The number of characters that may wait while standard error accepts no data. Further lines are dropped. */
const mostWaiting = 1024 * 1024;

/**
 * Returns a stream that writes to standard error without blocking. The program continues when standard error
 * cannot be written, for example on a full disk. Text that could not be written is retried with the next
 * line, and is dropped when the process ends.
 */
function standardError(): LogStream {
  const stream = destination({ dest: 2, sync: false, maxLength: mostWaiting });
  const flushSync = stream.flushSync.bind(stream);
  let isFailing = false;
  // Without a listener, a failed write would end the process.
  stream.on('error', () => (isFailing = true));
  stream.on('write', () => (isFailing = false));
  // pino calls this at the end of the process. Its own version repeats a failing write forever.
  stream.flushSync = () => {
    if (!isFailing && !isOnFullDisk()) flushSync();
  };
  return stream;
}

/**
 * Whether the journal of systemd reads standard error (systemd.exec(5), `JOURNAL_STREAM`). Children of a
 * service have the variable too, also with another standard error.
 */
function isJournal(): boolean {
  const named = process.env['JOURNAL_STREAM'];
  if (named === undefined) return false;
  try {
    const { dev, ino } = fstatSync(2, { bigint: true });
    return named === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** Priorities of sd-daemon(3), by the levels of pino. */
const priorities: Readonly<Record<number, number>> = { 10: 7, 20: 7, 30: 6, 40: 4, 50: 3, 60: 2 };

/**
 * Writes the priority before each line. The journal removes it from the text, and `journalctl --priority`
 * finds the line by it.
 */
function withPriorities(stream: LogStream): LogStream {
  const withLevel = {
    // With this, pino sets `lastLevel` before each line.
    [symbols.needsMetadataGsym]: true,
    lastLevel: 30,
    write(line: string): void {
      stream.write(`<${priorities[withLevel.lastLevel] ?? 6}>${line}`);
    },
  };
  return withLevel;
}

/** Whether standard error is a file on a full disk. */
function isOnFullDisk(): boolean {
  try {
    return fstatSync(2).isFile() && statfsSync('/proc/self/fd/2').bavail === 0;
  } catch {
    return false;
  }
}

/**
 * Creates a logger that writes to standard error, or to `stream` if given. Times are ISO 8601 in UTC. Fields
 * of the scope (see `withLogFields`) come first. The journal of systemd gets the priority of each line.
 */
export function createLogger(options: { readonly level: LogLevel; readonly stream?: LogStream }): Logger {
  const paths = secretFields.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);
  return pino(
    {
      level: options.level,
      base: null,
      redact: { paths, censor: '[secret]' },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      mixin: scopedFields,
    },
    options.stream ?? (isJournal() ? withPriorities(standardError()) : standardError()),
  );
}
