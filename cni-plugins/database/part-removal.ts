import { damagedKind } from './damaged-parts.ts';
import type { NetworkDatabase } from './database.ts';

/** A plugin attachment that is removed. */
interface Removed {
  readonly attachment: number;
  readonly type: string;
  readonly resources: readonly { readonly kind: string }[];
}

/** Returns how `PluginAttachmentStore.remove` removes rows. */
export function createPartRemoval({
  db,
  transaction,
}: Pick<NetworkDatabase, 'db' | 'transaction'>): (part: Removed) => void {
  const ofPart = (table: string): string => `DELETE FROM ${table} WHERE attachment = ? AND part = ?`;
  const deletions = ['DELETE FROM part WHERE attachment = ? AND type = ?', ofPart('dhcp_lease')].map((sql) =>
    db.prepare(sql),
  );
  const releases = ['lease', 'host_port'].map((table) => db.prepare(ofPart(table)));
  const unnamings = ['name', 'service_member'].map((table) =>
    db.prepare(`DELETE FROM ${table} WHERE attachment = ?`),
  );
  const deleteEmpty = db.prepare(
    `DELETE FROM attachment WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM part WHERE attachment = ?1)
     AND NOT EXISTS (SELECT 1 FROM lease WHERE attachment = ?1)
     AND NOT EXISTS (SELECT 1 FROM host_port WHERE attachment = ?1)`,
  );
  return ({ attachment, type, resources }) => {
    const isDamaged = resources.some(({ kind }) => kind === damagedKind);
    transaction(() => {
      for (const deletion of deletions) deletion.run(attachment, type);
      for (const each of isDamaged ? [] : releases) each.run(attachment, type);
      // The attachment may stay with its addresses, but nobody may find it any more.
      for (const each of isDamaged ? unnamings : []) each.run(attachment);
      deleteEmpty.run(attachment);
    });
  };
}
