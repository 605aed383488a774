import { parseJson } from '../../base/json/index.ts';
import { openReadOnly } from '../../base/storage/index.ts';
import { evidenceStanding } from '../../trust/evidence/index.ts';
import type { Dossier, TrustPolicy } from '../../trust/index.ts';

/**
 * Returns the names of recorded images that cannot be decided because an answer about revocation has expired.
 * For commands that run without a daemon. Reads the database file, and changes nothing.
 * @param database `state.db` of a daemon
 * @throws PortcullisError of base/storage when it cannot be read
 */
export async function endedInDatabase(
  database: string,
  policy: TrustPolicy,
  now: Date,
): Promise<readonly { readonly names: readonly string[] }[]> {
  using state = openReadOnly(database);
  const ended: { names: readonly string[] }[] = [];
  const rows = [...state.each('SELECT name, image_id, dossier_id FROM image_name ORDER BY seq')];
  for (const group of Map.groupBy(
    rows,
    (row) => `${String(row['image_id'])} ${String(row['dossier_id'])}`,
  ).values()) {
    const stored = state.get('SELECT json FROM dossier WHERE id = ?', [group[0]?.['dossier_id'] ?? ''])?.[
      'json'
    ];
    if (typeof stored !== 'string') continue;
    const names = group.map(({ name }) => String(name));
    const dossier = parseJson(stored) as Dossier;
    const existing = await evidenceStanding({ dossier, references: names, policy, now });
    if (existing?.missing === true) ended.push({ names });
  }
  return ended;
}
