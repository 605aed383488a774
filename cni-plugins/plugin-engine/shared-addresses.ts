import { PortcullisError } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { NetworkDatabase } from '../database/database.ts';
import type { PluginAttachment } from '../database/plugin-attachments.ts';
import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import type { Masquerade } from '../plugins/nat/masquerade-type.ts';
import { kindOf } from '../plugins/registry.ts';

/**
 * The host masquerades packets by the source address alone, and the plugin `firewall` recognizes pods by it.
 * The database leases each address of a range only once. But a fixed address, a third-party address plugin
 * and a DHCP server may give any address, also one of a range that another network leases. Synchronous, for
 * a Worker.
 */
export interface SharedAddresses {
  /**
   * Refuses resources that masquerade an address of another attachment.
   * @throws NETWORK_ADDRESS_TAKEN
   */
  refuse(part: Part, resources: readonly Resource[]): void;
  /**
   * Refuses resources that masquerade an address of another attachment in another way: the subnets differ. A
   * pod and its successor may have the same address for a while.
   * @throws NETWORK_ADDRESS_TAKEN
   */
  refuseOther(part: Part, resources: readonly Resource[]): void;
  /** Restores the rules of other attachments whose addresses are among those of removed resources. */
  restore(part: Part, removed: readonly Resource[], kernel: ResourceKernel): void;
}

type Part = Pick<PluginAttachment, 'attachment' | 'key'>;

interface Holder {
  readonly network: string;
  readonly container_id: string;
  readonly interface: string;
  readonly resource: string;
}

const isMasquerade = (resource: Resource): resource is Masquerade => resource.kind === 'masquerade';

/** The resource of the plugin `firewall`, as far as it is of interest here. */
interface ForwardPolicy extends Resource {
  readonly addresses: readonly string[];
}

const isForwardPolicy = (resource: Resource): resource is ForwardPolicy => resource.kind === 'forward-policy';

/** Returns the addresses by which the rules of a resource recognize the pod. */
function addressesOf(resource: Resource): readonly string[] {
  if (isMasquerade(resource)) return [resource.address.split('/', 1).join('')];
  return isForwardPolicy(resource) ? resource.addresses : [];
}

/** Reads the database only when it is asked. */
export function createSharedAddresses({ db }: NetworkDatabase): SharedAddresses {
  const selectOnlyLeases = db.prepare(
    `SELECT EXISTS (SELECT 1 FROM lease WHERE attachment = ?1) AND NOT EXISTS (
       SELECT 1 FROM attachment WHERE realm = (SELECT realm FROM attachment WHERE number = ?1)
         AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.attachment = number)) AS only`,
  );
  const selectHolder = db.prepare(
    `SELECT network, container_id, interface, resource.value AS resource
     FROM attachment JOIN part ON part.attachment = number JOIN json_each(resources) AS resource
     WHERE realm = (SELECT realm FROM attachment WHERE number = ?1) AND number <> ?1
       AND part.state <> 'removing' AND json_extract(resource.value, '$.kind') = ?2
       AND CASE ?2 WHEN 'masquerade' THEN json_extract(resource.value, '$.address') LIKE ?3 || '/%'
           ELSE EXISTS (SELECT 1 FROM json_each(resource.value, '$.addresses') AS own WHERE own.value = ?3) END
       AND json_extract(resource.value, '$.address') IS NOT ?4 LIMIT 1`,
  );
  /**
   * Returns the attachments that have an address of these resources, each with its own resource of the kind.
   * @param exceptFor returns the `address` of resources that do not count
   */
  const holders = (
    { attachment }: Part,
    resources: readonly Resource[],
    exceptFor: (resource: Resource) => string = () => '',
  ): Holder[] =>
    resources.flatMap((resource) =>
      addressesOf(resource).flatMap(
        (address) =>
          (selectHolder.get(attachment, resource.kind, address, exceptFor(resource)) as Holder | undefined) ??
          [],
      ),
    );
  const refuseFirst = (part: Part, [holder]: readonly Holder[]): void => {
    if (holder !== undefined) throw addressTaken(part, holder);
  };
  return {
    refuse: (part, resources) => refuseFirst(part, holders(part, resources.filter(isMasquerade))),
    refuseOther: (part, resources) =>
      refuseFirst(
        part,
        holders(part, resources.filter(isMasquerade), (resource) =>
          isMasquerade(resource) ? resource.address : '',
        ),
      ),
    restore(part, removed, kernel) {
      if (removed.every((resource) => addressesOf(resource).length === 0)) return;
      // Usually all addresses are of ranges, so that nobody else has one of these.
      if (selectOnlyLeases.get(part.attachment)?.['only'] === 1) return;
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

function addressTaken({ key }: Part, holder: Holder): PortcullisError {
  const { address } = parseJson(holder.resource) as Masquerade;
  return new PortcullisError({
    code: 'NETWORK_ADDRESS_TAKEN',
    kind: 'already-exists',
    attempted: 'give a container a masqueraded address on the network',
    on: key.network,
    why: `the container ${holder.container_id} on the network ${holder.network} has the address ${address}, which is masqueraded`,
    fix: 'give addresses that no other network of this host has, or leave out ipMasq',
    details: { address },
  });
}
