import type { Resource } from '../contract/contract.ts';
import { isPodAddresses } from './pod-addresses.ts';
import type { PodAddresses, PodRoute } from './pod-addresses.ts';

/** Returns resources of a pod's interface as a later plugin of the chain leaves them. Pure. */

const isOf = (resource: Resource, name: string): resource is Resource & { readonly interface: string } =>
  'interface' in resource && resource.interface === name;

/**
 * Applies another MAC address or MTU. A resource that has neither is unchanged. For a veth pair only the
 * pod's end changes (`podMtu`).
 */
export function withLink(
  resource: Resource,
  name: string,
  link: { readonly mac?: string; readonly mtu?: number },
): Resource {
  if (!isOf(resource, name)) return resource;
  return {
    ...resource,
    ...('mac' in resource && link.mac !== undefined ? { mac: link.mac } : {}),
    ...(link.mtu === undefined || !('mtu' in resource)
      ? {}
      : 'hostInterface' in resource
        ? { podMtu: link.mtu }
        : { mtu: link.mtu }),
  };
}

/** Removes routes of the main table that lead to the same destinations. */
export function withoutRoutes(resource: Resource, name: string, leaving: readonly PodRoute[]): Resource {
  if (!isPodAddresses(resource) || resource.interface !== name) return resource;
  const gone = new Set(leaving.map(({ dst }) => dst));
  const amended: PodAddresses = {
    ...resource,
    routes: resource.routes.filter((route) => route.table !== undefined || !gone.has(route.dst)),
  };
  return amended;
}
