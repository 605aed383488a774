import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { NetworkDatabase } from './database.ts';

/** A plugin attachment whose record could not be read. */
export interface DamagedPart {
  readonly attachment: number;
  readonly key: AttachmentKey;
  readonly type: string;
  /** Whether its link was deleted, because nobody knows which NetworkPolicies apply to its pod. */
  readonly lostLink: boolean;
}

/** The kind of the resource that replaces the resources of a record that could not be read. */
export const damagedKind = 'damaged-record';

interface Row {
  readonly attachment: number;
  readonly network: string;
  readonly containerId: string;
  readonly interface: string;
  readonly type: string;
  readonly hostInterface: string;
  readonly isPodDamaged: 0 | 1;
}

const isDamaged = `NOT (CASE WHEN json_valid(resources) AND json_valid(result)
  THEN json_type(resources) = 'array' AND json_type(result) = 'object' ELSE FALSE END)`;

/** The row of the attachment is damaged, which names the pod to which NetworkPolicies apply. */
const isPodDamaged = `attachment IN (SELECT number FROM attachment WHERE origin = 'plugin' AND realm = ?1
  AND NOT (CASE WHEN json_valid(spec) THEN json_type(spec) = 'object' ELSE FALSE END))`;

/**
 * Replaces the records of plugin attachments that cannot be read. Otherwise, one of them ends each start of
 * the daemon, each GC and STATUS, and the DEL of its attachment. Its addresses and host ports stay taken
 * until the next boot, because the kernel may have rules for them that nobody can find any more.
 * @param namespaceId the host network namespace of this process
 * @param deleteLink called for the links of pods whose names are lost: nobody knows which NetworkPolicies
 * apply to them
 * @returns the attachments
 */
export function replaceDamagedParts(
  { db, transaction }: Pick<NetworkDatabase, 'db' | 'transaction'>,
  namespaceId: string,
  deleteLink: (hostInterface: string) => void,
): readonly DamagedPart[] {
  const select = db.prepare(
    `SELECT attachment, network, container_id AS containerId, interface, type, host_interface AS hostInterface,
       ${isPodDamaged} AS isPodDamaged
     FROM part JOIN attachment ON number = attachment WHERE ${isDamaged} OR ${isPodDamaged}`,
  );
  const found = select.all(namespaceId) as unknown as Row[];
  if (found.length === 0) return [];
  for (const each of found) if (each.isPodDamaged === 1) deleteLink(each.hostInterface);
  const forgetPods = db.prepare(
    `UPDATE attachment SET spec = '{}' WHERE number IN (SELECT attachment FROM part WHERE ${isPodDamaged})`,
  );
  const replace = db.prepare(
    `UPDATE part SET result = '{"interfaces":[],"ips":[],"routes":[],"dns":{}}', resources = json_array(json_object(
       'kind', '${damagedKind}',
       'hostInterface', (SELECT host_interface FROM attachment WHERE number = part.attachment)))
     WHERE ${isDamaged} OR ${isPodDamaged}`,
  );
  transaction(() => {
    replace.run(namespaceId);
    forgetPods.run(namespaceId);
  });
  return found.map(({ attachment, type, network, containerId, interface: name, isPodDamaged: lost }) => ({
    attachment,
    key: { network, containerId, interface: name },
    type,
    lostLink: lost === 1,
  }));
}
