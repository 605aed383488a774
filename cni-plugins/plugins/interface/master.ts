import { findLink, listRoutes, loopbackIndex, mainTable } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import type { Fields } from '../../spec/fields.ts';
import type { CniDns, CniResult } from '../../spec/result.ts';
import type { LeasedAddress, Plan, PlanInput, ResourceKernel } from '../contract/contract.ts';
import type { ChildLink } from './child-link.ts';
import { podOf, requireFree } from './child-link.ts';
import { masterMissing, masterUnusable, mtuTooLarge } from './failures.ts';
import { planInterface } from './plan-interface.ts';
import { readDns, readInterfaceName, readMtu } from './settings.ts';

/** Shared by macvlan, ipvlan and vlan: a link in the pod on top of a master. */

export interface MasterConfig {
  /** Absent: the link of the default route. */
  readonly master?: string;
  readonly masterIn: 'host' | 'pod';
  readonly mtu?: number;
  readonly dns?: CniDns;
}

/** Reads `master`, `linkInContainer`, `mtu`, `dns`. */
export function readMaster(config: Fields): MasterConfig {
  const master = readInterfaceName(config, 'master');
  const mtu = readMtu(config);
  const dns = readDns(config);
  return {
    masterIn: config.flag('linkInContainer', false) ? 'pod' : 'host',
    ...(master === undefined ? {} : { master }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(dns === undefined ? {} : { dns }),
  };
}

/** The master as observed. */
export interface Master {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
}

/** Returns why nothing can be created on it now; undefined also where the answer depends on the pod. */
export function unavailableMaster(config: MasterConfig, host: NetlinkSocket): string | undefined {
  if (config.masterIn === 'pod') return undefined;
  const link = masterOf(config, host);
  if (link === undefined)
    return config.master === undefined
      ? 'the host has no default route'
      : `the host has no link ${config.master}`;
  if (link.index === loopbackIndex) return `the master is ${link.name}: ${loopbackWords}`;
  return config.mtu !== undefined && config.mtu > link.mtu
    ? `the master ${link.name} has the MTU ${link.mtu}, less than ${config.mtu}`
    : undefined;
}

const loopbackWords = 'it is the loopback link, to which no other link can be connected';

/**
 * @throws NETWORK_MASTER_MISSING · NETWORK_MASTER_UNUSABLE · NETWORK_MTU_TOO_LARGE ·
 * NETWORK_INTERFACE_TAKEN
 */
export function observeMaster(
  config: MasterConfig,
  kernel: ResourceKernel,
  { key }: Pick<PlanInput, 'key'>,
): Master {
  requireFree(key.interface, kernel);
  const socket =
    config.masterIn === 'host' ? kernel.host.route : podOf(kernel, config.master ?? 'master').route;
  const link = masterOf(config, socket);
  if (link === undefined) throw masterMissing(config.master, config.masterIn);
  if (link.index === loopbackIndex) throw masterUnusable(link.name, loopbackWords);
  if (config.mtu !== undefined && config.mtu > link.mtu) throw mtuTooLarge(config.mtu, link.name, link.mtu);
  return { name: link.name, mac: link.mac, mtu: link.mtu };
}

const masterOf = ({ master }: MasterConfig, socket: NetlinkSocket): ReturnType<typeof findLink> =>
  master === undefined ? defaultLink(socket) : findLink(socket, { name: master });

function defaultLink(socket: NetlinkSocket): ReturnType<typeof findLink> {
  const defaults = listRoutes(socket).filter((route) => route.length === 0 && route.table === mainTable);
  const [best] = defaults.toSorted(
    (a, b) => a.destination.length - b.destination.length || (a.priority ?? 0) - (b.priority ?? 0),
  );
  return best === undefined || best.index === 0 ? undefined : findLink(socket, { index: best.index });
}

/** The link on the master, and the addresses of the pod on it. */
export interface ChildPlan {
  readonly config: MasterConfig;
  readonly of: ChildLink['of'];
  readonly master: Master;
  /** MAC set on the link. Absent: it has the master's. */
  readonly mac?: string;
  readonly addresses: readonly LeasedAddress[];
  readonly routes: CniResult['routes'];
  readonly announces: boolean;
}

export function planChild(input: PlanInput, child: ChildPlan): Plan {
  const { config, of, master } = child;
  const link: ChildLink = {
    kind: 'child-link',
    interface: input.key.interface,
    of,
    master: master.name,
    masterIn: config.masterIn,
    ...(child.mac === undefined ? {} : { mac: child.mac }),
    ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
  };
  return planInterface(input, {
    link,
    mac: child.mac ?? master.mac,
    mtu: config.mtu ?? master.mtu,
    addresses: child.addresses,
    routes: child.routes,
    announces: child.announces,
    ...(config.dns === undefined ? {} : { dns: config.dns }),
  });
}
