import { findLink } from '../../../base/netlink/index.ts';
import type { Resource, ResourceType } from '../contract/contract.ts';
import { deleteLink } from './child-link.ts';

/**
 * In place of the resources of a plugin attachment whose record could not be read. CHECK reports it, and DEL
 * removes what can be found without the record. All else in the pod ends with the pod's namespace.
 */
export interface DamagedRecord extends Resource {
  readonly kind: 'damaged-record';
  /** The host's end of the interface, if the plugin created one. */
  readonly hostInterface: string;
}

export const damagedRecordType: ResourceType<DamagedRecord> = {
  kind: 'damaged-record',
  ensure: () => undefined,
  differences: () => ['its record in the network database was damaged: run DEL, then ADD'],
  remove({ hostInterface }, kernel) {
    const link = findLink(kernel.host.route, { name: hostInterface });
    if (link?.kind === 'veth') deleteLink(kernel, 'host', link.index);
  },
};
