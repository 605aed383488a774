import { findLink, lookUp } from '../../base/netlink/index.ts';
import type { LinkSettings } from '../../base/netlink/index.ts';
import type { PluginAttachment } from '../database/plugin-attachments.ts';
import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import { withLink } from '../plugins/interface/amended.ts';
import { withPresentRoutes } from '../plugins/interface/pod-addresses.ts';
import { createsInterface } from '../plugins/registry.ts';

/**
 * Returns the part of an attachment with the MAC address, the MTU and the routes that its interface has in
 * the pod. Repair leaves these as they are, because the kernel does not report who changed them: a
 * third-party plugin later in the chain, whose settings no record has, or a pod with NET_ADMIN (decision
 * 0080). An interface that is gone, down or without an address is repaired with everything that it had.
 */
export function asInPod(part: PluginAttachment, kernel: ResourceKernel): PluginAttachment {
  const { key, resources } = part;
  const link =
    createsInterface(part) && kernel.pod !== undefined
      ? findLink(kernel.pod.route, { name: key.interface })
      : undefined;
  if (link === undefined || !resources.every((resource) => isEndOf(resource, link, kernel))) return part;
  return {
    ...part,
    resources: resources.map((resource) =>
      withPresentRoutes(withLink(resource, key.interface, link), link, kernel),
    ),
  };
}

/** Returns whether the link may be the pod's end of a resource. That of another pair is not. */
function isEndOf(resource: Resource, { peer }: LinkSettings, { host }: ResourceKernel): boolean {
  if (!('interface' in resource && 'hostInterface' in resource)) return true;
  const { hostInterface: name } = resource;
  return typeof name === 'string' && lookUp(host.route, { name })?.index === peer;
}
