import { PortcullisError } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { NetworkDatabase } from '../database/database.ts';
import type { PluginAttachment } from '../database/plugin-attachments.ts';
import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import type { Masquerade } from '../plugins/nat/masquerade-type.ts';
import { kindOf } from '../plugins/registry.ts';

/**
 * The host masquerades packets by the source address alone. The database assigns each other address only
 * once, but a DHCP server may give any address, also that of a pod on another network. Synchronous, for a
 * Worker.
 */
export interface MasqueradedAddresses {
  /**
   * Refuses resources that would change the masquerading of another attachment.
   * @throws NETWORK_ADDRESS_TAKEN
   */
  refuse(part: PluginAttachment, resources: readonly Resource[]): void;
  /**
   * Restores the masquerading of other attachments whose addresses are among those of removed resources: they
   * may have got their addresses later.
   */
  restore(part: PluginAttachment, removed: readonly Resource[], kernel: ResourceKernel): void;
}

interface Holder {
  readonly network: string;
  readonly container_id: string;
  readonly interface: string;
  readonly resource: string;
}

const isMasquerade = (resource: Resource): resource is Masquerade => resource.kind === 'masquerade';

/** Reads the database only when it is asked. */
export function createMasqueradedAddresses({ db }: NetworkDatabase): MasqueradedAddresses {
  const hasLeases = db.prepare('SELECT EXISTS (SELECT 1 FROM dhcp_lease) AS has');
  const selectHolder = db.prepare(
    `SELECT network, container_id, interface, resource.value AS resource
     FROM attachment JOIN part ON part.attachment = number JOIN json_each(resources) AS resource
     WHERE realm = (SELECT realm FROM attachment WHERE number = ?1) AND number <> ?1
       AND part.state <> 'removing' AND json_extract(resource.value, '$.kind') = 'masquerade'
       AND json_extract(resource.value, '$.address') LIKE ?2 LIMIT 1`,
  );
  /** Returns the attachments that have an address of these resources, each with its own resource. */
  const holders = (part: PluginAttachment, resources: readonly Resource[]): Holder[] =>
    resources
      .filter(isMasquerade)
      .map(({ address }) => `${address.split('/', 1).join('')}/%`)
      .flatMap((pattern) => (selectHolder.get(part.attachment, pattern) as Holder | undefined) ?? []);
  return {
    refuse(part, resources) {
      const [holder] = holders(part, resources);
      if (holder !== undefined) throw addressTaken(part, holder);
    },
    restore(part, removed, kernel) {
      if (!removed.some(isMasquerade) || hasLeases.get()?.['has'] !== 1) return;
      for (const { network, container_id: containerId, interface: name, resource } of holders(
        part,
        removed,
      )) {
        const kept = parseJson(resource) as Resource;
        kindOf(kept).ensure(kept, kernel, { network, containerId, interface: name });
      }
    },
  };
}

function addressTaken({ key }: PluginAttachment, holder: Holder): PortcullisError {
  const { address } = parseJson(holder.resource) as Masquerade;
  return new PortcullisError({
    code: 'NETWORK_ADDRESS_TAKEN',
    kind: 'already-exists',
    attempted: 'give a container the masqueraded address of a DHCP server on the network',
    on: key.network,
    why: `the container ${holder.container_id} on the network ${holder.network} has the address ${address}, which is masqueraded`,
    fix: 'let the DHCP server give addresses that no other network of this host has, or leave out ipMasq',
    details: { address },
  });
}
