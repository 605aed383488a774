import { asPortcullisError } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { sqliteResult, storageFailure } from '../../../base/storage/index.ts';
import type { Call } from './protocol.ts';

/** Converts an error to the failure with which a call to the network thread is refused. */
export function failureOf(call: Call, thrown: unknown, databasePath: string): PortcullisError {
  const failure = {
    code: 'NETWORK_INTERNAL',
    kind: 'internal',
    attempted: `serve the call ${call.do} of the network`,
    on: 'id' in call ? call.id : '',
    fix: 'report this with the daemon log',
  } as const;
  // Statements outside a transaction throw raw SQLite errors.
  const known =
    sqliteResult(thrown) === undefined ? thrown : storageFailure(thrown, failure.attempted, databasePath);
  return asPortcullisError(known, failure);
}
