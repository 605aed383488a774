import { formatIp, ipFromBytes } from '../../../base/addresses/index.ts';
import { forget, listConnections } from '../../../base/netlink/index.ts';
import type { NetlinkSocket, TrackedConnection } from '../../../base/netlink/index.ts';
import { givingMemoryBack } from '../model/memory.ts';
import { keyOf } from '../model/model.ts';
import type { ServerKey } from '../model/model.ts';
import type { IpvsKernel } from './kernel.ts';
import type { ServiceLink } from './link.ts';
import { familyNumber, protocolNumber, serviceOf } from './plan.ts';
import type { IpvsPlane } from './plan.ts';

/**
 * Returns whether connection tracking may know flows to this server that began before IPVS had it. With
 * direct server return, the flow is one to the address itself.
 */
const mayHaveEarlierFlows = ({ protocol, forwarding }: IpvsPlane): boolean =>
  protocol === 'udp' && forwarding !== 'dsr';

/**
 * Forgets UDP flows to these servers that began before IPVS had the servers. Connection tracking knows such a
 * flow as one to the address itself, and the kernel does not masquerade it: a sender that never pauses would
 * never get an answer from a backend that does not answer through this host. Lists the flows once for all
 * servers of a family.
 * @throws NETWORK_KERNEL_…
 */
function forgetEarlierFlows(
  netfilter: NetlinkSocket,
  link: Pick<ServiceLink, 'isOfHost'>,
  served: ReadonlySet<ServerKey>,
): void {
  for (const family of [4, 6] as const) {
    if (![...served].some((key) => key.startsWith(`${family} `))) continue;
    const ofHost = new Map<string, boolean>();
    const isOfHost = (address: Buffer): boolean => {
      const text = address.toString('hex');
      const is = ofHost.get(text) ?? link.isOfHost(address);
      ofHost.set(text, is);
      return is;
    };
    const isEarlier = ({ to, portTo: port, answeredBy, answeringPort }: TrackedConnection): boolean => {
      if (!answeredBy.equals(to) || answeringPort !== port) return false;
      const place = { family, protocol: 'udp', port } as const;
      const address = formatIp(ipFromBytes(to));
      return served.has(keyOf({ ...place, address })) || (served.has(keyOf(place)) && isOfHost(to));
    };
    const number = familyNumber({ family });
    const flows = listConnections(netfilter, number, { protocol: protocolNumber('udp') });
    forget(netfilter, number, flows.filter(isEarlier));
  }
}

/**
 * Adds new services without a backend, where flows from before may exist, and forgets these flows. Policies
 * accept the packets of a flow that began before them: no such packet may reach a backend.
 * @param isNew whether IPVS does not have the service of a server
 * @param all whether to forget the flows to all servers: IPVS may have services without a backend whose
 * flows were not forgotten
 * @throws NETWORK_IPVS_SCHEDULER_MISSING, NETWORK_KERNEL_…
 */
export function addWithoutEarlierFlows(
  { kernel, netfilter, link }: AddingDeps,
  servers: Iterable<IpvsPlane>,
  isNew: (server: IpvsPlane) => boolean = () => true,
  all = false,
): void {
  const affected = new Set<ServerKey>();
  for (const server of givingMemoryBack(servers)) {
    if (!mayHaveEarlierFlows(server)) continue;
    const added = isNew(server);
    if (added) kernel.put(serviceOf(server), []);
    if (added || all) affected.add(keyOf(server));
  }
  forgetEarlierFlows(netfilter, link, affected);
}

interface AddingDeps {
  readonly kernel: Pick<IpvsKernel, 'put'>;
  readonly netfilter: NetlinkSocket;
  readonly link: Pick<ServiceLink, 'isOfHost'>;
}
