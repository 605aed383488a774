import { masterInUse } from '../plugins/interface/failures.ts';
import type { Resource } from '../plugins/contract/contract.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { NetworkDatabase } from '../database/database.ts';

/**
 * Refuses an ipvlan link with another mode than the links of other pods on the same master. The kernel has
 * one mode for each master: it would change the links of the other pods as well. Synchronous, for a Worker.
 */
export interface IpvlanModes {
  /** Call it inside a transaction. @throws NETWORK_MASTER_IN_USE */
  refuse(
    resources: readonly Resource[],
    of: { readonly namespaceId: string; readonly key: AttachmentKey },
  ): void;
}

interface IpvlanLink extends Resource {
  readonly master: string;
  readonly masterIn: 'host' | 'pod';
  readonly of: { readonly kind: string; readonly mode: string };
}

const isOnHost = (resource: Resource): resource is IpvlanLink => {
  const { kind, masterIn, of } = resource as Partial<IpvlanLink>;
  return kind === 'child-link' && masterIn === 'host' && of?.kind === 'ipvlan';
};

export function createIpvlanModes({ db }: Pick<NetworkDatabase, 'db'>): IpvlanModes {
  const selectOther = db.prepare(
    `SELECT container_id AS container, json_extract(link.value, '$.of.mode') AS mode
     FROM attachment JOIN part ON part.attachment = number JOIN json_each(resources) AS link
     WHERE realm = ?1 AND NOT (network = ?2 AND container_id = ?3 AND interface = ?4)
       AND json_extract(link.value, '$.kind') = 'child-link' AND json_extract(link.value, '$.of.kind') = 'ipvlan'
       AND json_extract(link.value, '$.masterIn') = 'host' AND json_extract(link.value, '$.master') = ?5
       AND json_extract(link.value, '$.of.mode') <> ?6 LIMIT 1`,
  );
  return {
    refuse(resources, { namespaceId, key: { network, containerId, interface: name } }) {
      for (const { master, of } of resources.filter(isOnHost)) {
        const other = selectOther.get(namespaceId, network, containerId, name, master, of.mode) as
          | { readonly container: string; readonly mode: string }
          | undefined;
        if (other !== undefined)
          throw masterInUse(
            master,
            `ipvlan ${of.mode}`,
            `container ${other.container} has an ipvlan link of the mode ${other.mode} on it, and all of them have one mode`,
          );
      }
    },
  };
}
