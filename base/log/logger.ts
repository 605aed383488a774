import { fstatSync, statfsSync } from 'node:fs';
import { scopedFields } from './fields.ts';
import { pino, destination } from 'pino';
import type { DestinationStream } from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** A structured logger: one JSON object a line. Fields come first, then the message, as in pino. */
export interface Logger {
  /** The lowest level that is written, for whoever has lines made elsewhere; absent: not known. */
  readonly level?: string;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(bindings: Record<string, unknown>): Logger;
}

/** Field names whose values are never written, at any depth up to two. */
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

/** What waits to be written while standard error takes nothing, in characters; lines beyond it are dropped. */
const mostWaiting = 1024 * 1024;

/**
 * Standard error, without waiting. Where it cannot be written, as on a full disk, the program goes on: what could not be written is tried again
 * with the next line, and is dropped at the end of the process.
 */
function standardError(): DestinationStream {
  const stream = destination({ dest: 2, sync: false, maxLength: mostWaiting });
  const flushSync = stream.flushSync.bind(stream);
  let isFailing = false;
  // Without a listener the failure of a line would end the process.
  stream.on('error', () => (isFailing = true));
  stream.on('write', () => (isFailing = false));
  // Called at the end of the process. It repeats a write that fails, for ever.
  stream.flushSync = () => {
    if (!isFailing && !isOnFullDisk(2)) flushSync();
  };
  return stream;
}

function isOnFullDisk(fd: number): boolean {
  try {
    return fstatSync(fd).isFile() && statfsSync(`/proc/self/fd/${fd}`).bavail === 0;
  } catch {
    return false;
  }
}

/** Writes to standard error unless `stream` is given. Times are ISO 8601 in UTC. Fields of the scope (see `withLogFields`) come first. */
export function createLogger(options: { readonly level: LogLevel; readonly stream?: DestinationStream }): Logger {
  const paths = secretFields.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);
  return pino(
    {
      level: options.level,
      base: null,
      redact: { paths, censor: '[secret]' },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      mixin: scopedFields,
    },
    options.stream ?? standardError(),
  );
}
