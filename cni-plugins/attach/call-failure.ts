import { asPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { sqliteResult, storageFailure } from '../../base/storage/index.ts';
import type { Call } from './protocol.ts';

/** What a call to the network thread is refused with. */
export function failureOf(call: Call, thrown: unknown, databasePath: string): PortcullisError {
  const failure = {
    code: 'NETWORK_INTERNAL',
    kind: 'internal',
    attempted: `network ${call.do}`,
    on: 'id' in call ? call.id : '',
    fix: 'report this with the daemon log',
  } as const;
  // Statements outside a transaction fail as SQLite fails.
  const known = sqliteResult(thrown) === undefined ? thrown : storageFailure(thrown, failure.attempted, databasePath);
  return asPortcullisError(known, failure);
}
