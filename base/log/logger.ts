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
    options.stream ?? destination({ dest: 2, sync: false }),
  );
}
