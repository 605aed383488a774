import type { Statement } from '../../base/storage/index.ts';

/** The table that a liveness probe writes. One migration of the daemon's database. */
export const heartbeatSchema =
  'CREATE TABLE heartbeat (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL) STRICT;';

export function heartbeat(): Statement {
  const sql = 'INSERT INTO heartbeat (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at';
  return { sql, params: [Date.now()], expectChanges: 1 };
}
