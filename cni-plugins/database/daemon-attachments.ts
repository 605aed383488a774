import type { AttachmentKey } from '../spec/attachment-key.ts';
import { isConnectedId } from '../spec/connected-id.ts';
import type { NetworkDatabase } from './database.ts';
import { isVirtualHolder } from './memberships.ts';

/** Tells attachments that no CNI runtime knows from those of CNI runtimes. Synchronous, for a Worker. */
export interface DaemonAttachments {
  /**
   * Returns whether the attachment belongs to a pod of our own runtime, a container of docker, a service, or
   * a command.
   */
  has(key: Pick<AttachmentKey, 'containerId' | 'interface'>): boolean;
}

export function createDaemonAttachments({ db }: Pick<NetworkDatabase, 'db'>): DaemonAttachments {
  const select = db.prepare(
    `SELECT EXISTS (SELECT 1 FROM attachment WHERE container_id = ?1 AND origin = 'pod')
       OR EXISTS (SELECT 1 FROM cnm_endpoint WHERE id = ?1) AS own`,
  );
  return {
    has: ({ containerId, interface: name }) =>
      isConnectedId(containerId) ||
      isVirtualHolder(containerId, name) ||
      (select.get(containerId) as { own: number }).own === 1,
  };
}
