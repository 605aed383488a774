import type { NetworkDatabase } from './database.ts';
import { addressOfKey } from './endpoint-names.ts';
import type { AttachmentRecord } from './record.ts';

/**
 * Attachments of pods whose records cannot be read. Such a record costs its pod the network, and not the
 * node: the runtime stops the pod at its next start. The pod may run until then, so its addresses and ports
 * stay taken until it is detached. Only the row, without its text, is kept for this.
 */
export interface DamagedAttachments {
  /** Empties the records that cannot be read, and removes their names. Call it inside a transaction. */
  empty(): void;
  all(): readonly DamagedAttachment[];
}

/** All that is known of such an attachment. */
export interface DamagedAttachment extends Pick<AttachmentRecord, 'id' | 'state'> {
  readonly hostInterface: string;
  readonly addresses: readonly string[];
}

interface Row {
  readonly id: string;
  readonly state: AttachmentRecord['state'];
  readonly hostInterface: string;
  readonly addresses: string | null;
}

export function createDamagedAttachments(
  { db }: Pick<NetworkDatabase, 'db'>,
  namespaceId: string,
): DamagedAttachments {
  const own = "realm = ? AND origin = 'pod'";
  const emptied = `${own} AND spec = '{}'`;
  // Other queries read the columns as JSON, and would fail for all pods.
  const empty = db.prepare(
    `UPDATE attachment SET spec = '{}', rules = '{}' WHERE ${own} AND NOT (
       CASE WHEN json_valid(spec) AND json_valid(rules)
       THEN json_type(spec) = 'object' AND json_type(rules) = 'object' ELSE FALSE END)`,
  );
  const removals = ['name', 'service_member'].map((table) =>
    db.prepare(`DELETE FROM ${table} WHERE attachment IN (SELECT number FROM attachment WHERE ${emptied})`),
  );
  const select = db.prepare(
    `SELECT container_id AS id, state, host_interface AS hostInterface,
       (SELECT group_concat(hex(address)) FROM lease WHERE attachment = number) AS addresses
     FROM attachment WHERE ${emptied}`,
  );
  return {
    empty() {
      for (const statement of [empty, ...removals]) statement.run(namespaceId);
    },
    all: () =>
      (select.all(namespaceId) as unknown as Row[]).map(({ addresses, ...row }) => ({
        ...row,
        addresses: addresses?.split(',').map((key) => addressOfKey(Buffer.from(key, 'hex'))) ?? [],
      })),
  };
}
