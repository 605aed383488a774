import { findLink, lookUp } from '../../base/netlink/index.ts';
import type { LinkSettings } from '../../base/netlink/index.ts';
import type { PluginAttachment } from '../database/plugin-attachments.ts';
import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import { withLink } from '../plugins/interface/amended.ts';
import { isPodAddresses, withPresentRoutes } from '../plugins/interface/pod-addresses.ts';
import { createsInterface } from '../plugins/registry.ts';
import { leastIpv6Mtu } from '../spec/ipv6-mtu.ts';

/**
 * Returns the part of an attachment with the MAC address, the MTU and the routes that its interface has in
 * the pod. Repair leaves these as they are, because the kernel does not report who changed them: a
 * third-party plugin later in the chain, whose settings no record has, or a pod with NET_ADMIN (decision
 * 0080). An interface that is gone is repaired with everything that it had, and one that is down or without
 * an address with its routes.
 * @param isUnfinished whether an earlier repair may not have set the routes yet
 */
export function asInPod(
  part: PluginAttachment,
  kernel: ResourceKernel,
  isUnfinished: boolean,
): PluginAttachment {
  const { key, resources } = part;
  const link =
    createsInterface(part) && kernel.pod !== undefined
      ? findLink(kernel.pod.route, { name: key.interface })
      : undefined;
  if (link === undefined || !resources.every((resource) => isEndOf(resource, link, kernel))) return part;
  const { mac, mtu } = link;
  const changed = mtu < leastIpv6Mtu && resources.some(hasIpv6) ? { mac } : { mac, mtu };
  return {
    ...part,
    resources: resources.map((resource) => {
      const amended = withLink(resource, key.interface, changed);
      return isUnfinished ? amended : withPresentRoutes(amended, link, kernel);
    }),
  };
}

/** With a smaller MTU than IPv6 needs, the kernel would refuse the addresses that it has removed. */
const hasIpv6 = (resource: Resource): boolean =>
  isPodAddresses(resource) && resource.addresses.some((address) => address.includes(':'));

/** Returns whether the link may be the pod's end of a resource. That of another pair is not. */
function isEndOf(resource: Resource, { peer }: LinkSettings, { host }: ResourceKernel): boolean {
  if (!('interface' in resource && 'hostInterface' in resource)) return true;
  const { hostInterface: name } = resource;
  return typeof name === 'string' && lookUp(host.route, { name })?.index === peer;
}
