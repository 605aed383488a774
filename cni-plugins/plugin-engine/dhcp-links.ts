import { NETLINK_ROUTE } from '../../base/kernel/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { formatIp, ipBytes, ipFromBytes, parsePrefix } from '../../base/addresses/index.ts';
import {
  deleteAddress,
  findLink,
  listHostAddresses,
  lookUp,
  openNetlink,
  setDown,
  setUp,
  tolerating,
} from '../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../base/netlink/index.ts';
import type { PluginAttachment } from '../database/plugin-attachments.ts';
import type { HeldLease, Sent } from '../dhcp/client.ts';
import { sendOnce } from '../dhcp/exchange.ts';
import { idOfPod } from '../namespaces/caller.ts';
import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import { podOf } from '../plugins/interface/child-link.ts';
import { interfaceMissing } from '../plugins/interface/failures.ts';
import { kindOf } from '../plugins/registry.ts';
import { addressesOnlyIn } from './dhcp-document.ts';
import type { DhcpDocument } from './dhcp-document.ts';

/** The interfaces of DHCP clients in the kernel. */

/** Returns what identifies the interface of an attachment. @throws NETWORK_INTERFACE_MISSING */
export function findClientLink(
  name: string,
  kernel: ResourceKernel,
): Pick<DhcpDocument['client'], 'namespace' | 'index' | 'mac'> {
  const pod = podOf(kernel, name);
  const { route } = pod;
  const link = findLink(route, { name });
  if (link === undefined) throw interfaceMissing(name, 'pod');
  return {
    namespace: idOfPod(pod),
    index: link.index,
    mac: link.mac,
  };
}

/** Returns whether the pod's namespace is that of the client. Another one may have its path by now. */
export function isNamespaceOf({ client }: DhcpDocument, { pod }: ResourceKernel): boolean {
  return pod !== undefined && idOfPod(pod) === client.namespace;
}

export function namespaceReplaced(netns: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NETNS_INVALID',
    kind: 'invalid',
    attempted: 'find the interface of the DHCP lease in the network namespace',
    on: netns,
    why: 'the path leads to another namespace for the daemon',
    fix: 'give a path of the namespace that is the same for the daemon, for example below /run/netns',
  });
}

/**
 * Refuses a lease of an address of the host: other machines and pods would reach the pod in place of it.
 * @param route a socket in the host network namespace
 * @throws NETWORK_ADDRESS_TAKEN
 */
export function refuseHostAddress(
  network: string,
  { address, server }: HeldLease,
  route: NetlinkSocket,
): void {
  if (!listHostAddresses(route).some((own) => formatIp(ipFromBytes(own.address)) === address)) return;
  throw new PortcullisError({
    code: 'NETWORK_ADDRESS_TAKEN',
    kind: 'already-exists',
    attempted: 'give a container the address of a DHCP server on the network',
    on: network,
    why: `the server ${server} gave ${address}, which is an address of this host`,
    fix: 'take the address out of the range of the DHCP server',
    details: { address },
  });
}

/**
 * Sends the release of a lease in the pod's namespace, or if that is gone, on the link of the host that the
 * pod's interface belonged to. On a bridge it is always the link of the host, because the link rules of the
 * pod's port may be closed already. Nobody confirms it.
 */
export function sendRelease(
  document: DhcpDocument,
  { resources }: PluginAttachment,
  kernel: ResourceKernel,
  sent: Sent,
): void {
  const bridge = resources.map(bridgeOf).find((name) => name !== undefined);
  if (bridge === undefined && isNamespaceOf(document, kernel))
    return kernel.inPod(() => sendOnce(document.client, sent));
  const name = bridge ?? resources.map(masterOf).find((each) => each !== undefined);
  const link = name === undefined ? undefined : lookUp(kernel.host.route, { name });
  if (link !== undefined) kernel.inHost(() => sendOnce(link, sent));
}

/** Returns the bridge of a port, unless the port is in a VLAN, which the bridge itself may not be in. */
function bridgeOf(resource: Resource): string | undefined {
  if (resource.kind !== 'veth-port' || !('bridge' in resource) || !('vlan' in resource)) return undefined;
  return resource.vlan === 0 ? String(resource.bridge) : undefined;
}

/** Returns the link of the host on which a link in the pod sends frames without a further tag. */
function masterOf(resource: Resource): string | undefined {
  if (resource.kind !== 'child-link' || !('master' in resource) || !('masterIn' in resource))
    return undefined;
  const isTagged = 'of' in resource && JSON.stringify(resource.of).includes('"vlan"');
  return resource.masterIn === 'host' && !isTagged ? String(resource.master) : undefined;
}

/** Brings the kernel from the former resources of an interface to those of another lease. */
export function replaceAddresses(
  former: readonly Resource[],
  part: Pick<PluginAttachment, 'key' | 'resources'>,
  { client }: DhcpDocument,
  kernel: ResourceKernel,
): void {
  const { route } = podOf(kernel, part.key.interface);
  for (const text of addressesOnlyIn(former, part.resources)) {
    const prefix = parsePrefix(text);
    if (prefix === undefined) continue;
    tolerating(['EADDRNOTAVAIL', 'ENODEV'], () =>
      route.run([deleteAddress(client.index, ipBytes(prefix.address), prefix.length)]),
    );
  }
  for (const resource of former)
    if (resource.kind === 'masquerade' && !part.resources.some((each) => sameResource(each, resource)))
      kindOf(resource).remove(resource, kernel, part.key, { has: () => undefined });
  for (const resource of part.resources)
    if (['masquerade', 'pod-addresses'].includes(resource.kind))
      kindOf(resource).ensure(resource, kernel, part.key);
}

const sameResource = (a: Resource, b: Resource): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Takes an interface that another program created down or up, as the upstream program does. */
export function switchLink({ client: { index } }: DhcpDocument, isUp: boolean, kernel: ResourceKernel): void {
  using route = kernel.inPod(() => openNetlink(NETLINK_ROUTE));
  route.run([isUp ? setUp({ index }) : setDown({ index })]);
}

export const releaseFailure = (thrown: unknown): string => `the release was not sent: ${reasonOf(thrown)}`;
