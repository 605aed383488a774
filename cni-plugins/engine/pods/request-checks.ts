import type { Logger } from '../../../base/log/index.ts';
import type { LoadedNetwork } from '../../spec/conf-folder.ts';
import { membershipsOn, readMemberships } from '../../spec/memberships.ts';
import type { Membership } from '../../spec/memberships.ts';
import type { NetworkConfig } from '../../spec/network-config.ts';
import { ownerOfPod, refuseClosedPorts } from '../../spec/service-rules.ts';
import type { AttachRequest, PortMapping } from '../../types.ts';
import { isListenedAt } from '../../database/host-sockets.ts';
import { rulesOf } from '../../database/memberships.ts';
import { bareType } from '../../calls/plugin-type.ts';
import { checkedMappings, refuseHostPort } from './request.ts';

/**
 * Decides which parts of a pod's request each network provides, and which parts it refuses. Runs before
 * anything is created.
 */

/** Returns the host ports that the network forwards. If it forwards none, that is logged. */
export function mappingsFor(
  request: AttachRequest,
  network: NetworkConfig,
  log: Pick<Logger, 'warn'>,
): PortMapping[] {
  const mappings = checkedMappings(request);
  if (network.portMap !== undefined || mappings.length === 0) return mappings;
  log.warn(
    { id: request.id, network: network.name },
    'host ports are ignored: the conflist has no portmap plugin with the capability portMappings',
  );
  return [];
}

/**
 * Returns the services that the pod joins on the network. If the network does not support that, it is logged.
 */
export function membershipsOf(
  request: AttachRequest,
  network: NetworkConfig,
  log: Pick<Logger, 'warn'>,
): readonly Membership[] {
  const joined = membershipsOn(
    readMemberships(request.capabilities?.['services'] ?? [], 'services'),
    network.name,
  );
  if (joined.length > 0 && network.named !== true)
    log.warn(
      { id: request.id, network: network.name },
      'services are not joined: the conflist of the network does not declare the capability aliases',
    );
  return joined;
}

/**
 * Runs before any link is created, by whichever plugin: a network that would not open an ingress port refuses
 * the pod instead of only omitting the port.
 */
export function refuseClosed(request: AttachRequest, network: LoadedNetwork | undefined): void {
  if (network === undefined) return;
  const joined = membershipsOn(
    readMemberships(request.capabilities?.['services'] ?? [], 'services'),
    network.name,
  );
  if (joined.every(({ ingressPorts }) => ingressPorts.length === 0)) return;
  const rules = rulesOf(network.list.plugins[0]?.config ?? {}, network.name);
  refuseClosedPorts(rules, ownerOfPod(request.pod.namespace), joined, (port) =>
    isListenedAt({ ...port, hostIp: '' }),
  );
}

/** A program of the host, such as its resolver, keeps its port, unless the network's file says otherwise. */
export function refuseHostPorts(request: AttachRequest, network: LoadedNetwork): void {
  const portmap = network.list.plugins.find(
    ({ type, capabilities }) => bareType(type) === 'portmap' && capabilities.includes('portMappings'),
  );
  if (portmap === undefined && network.network !== undefined) return;
  for (const mapping of checkedMappings(request))
    refuseHostPort(portmap?.config ?? {}, mapping, isListenedAt);
}
