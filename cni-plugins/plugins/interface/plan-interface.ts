import type { CniDns, CniResult } from '../../spec/result.ts';
import type { LeasedAddress, Plan, PlanInput, Resource } from '../contract/contract.ts';
import type { PodAddresses } from './pod-addresses.ts';
import { ipsOf, routesVia } from './settings.ts';

/** An interface in the pod with addresses and routes, without an end in the host. */
export interface InterfacePlan {
  /** Creates the interface. */
  readonly link: Resource;
  readonly mac: string;
  /** Absent: the kernel's default. */
  readonly mtu?: number;
  readonly addresses: readonly LeasedAddress[];
  readonly routes: CniResult['routes'];
  /** Whether the interface notifies its neighbours when it comes up. */
  readonly announces: boolean;
  /** DNS settings of the plugin. Absent: those of the address plugin. */
  readonly dns?: CniDns;
}

/** Plans the interface, and its addresses and routes. The interface is up, also without addresses. Pure. */
export function planInterface(input: PlanInput, wanted: InterfacePlan): Plan {
  const name = input.key.interface;
  const ips = ipsOf(wanted.addresses, 0);
  const addresses: PodAddresses = {
    kind: 'pod-addresses',
    interface: name,
    addresses: ips.map(({ address }) => address),
    routes: routesVia(wanted.routes, wanted.addresses),
    prefixRoutes: true,
    announces: wanted.announces && ips.length > 0,
  };
  const { mac, mtu } = wanted;
  return {
    resources: [wanted.link, addresses],
    result: {
      interfaces: [{ name, mac, ...(mtu === undefined ? {} : { mtu }), sandbox: input.netns }],
      ips,
      routes: wanted.routes,
      dns: wanted.dns ?? input.dns,
    },
  };
}
