import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { NETLINK_NETFILTER, NETLINK_ROUTE, inNamespaces } from '../../base/kernel/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { formatIp, ipBytes, ipFromBytes, parseIp, parsePrefix, networkOf } from '../spec/address.ts';
import { forgetConnections } from '../netlink/conntrack.ts';
import type { StalePort } from '../netlink/conntrack.ts';
import { isRefusal } from '../netlink/kernel-failure.ts';
import * as links from '../netlink/links.ts';
import type { Link } from '../netlink/links.ts';
import * as routes from '../netlink/routes.ts';
import { listAddresses } from '../netlink/route-tables.ts';
import { getTable, listElements, listRules, readElements, readRule, transact } from '../netlink/nftables.ts';
import type { CountedRule, Table } from '../netlink/nftables.ts';
import { readListedElements, readListedRule } from '../netlink/nft-readout.ts';
import type { ListedElement, ListedRule } from '../netlink/nft-readout.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { NetlinkSocket, Request } from '../netlink/socket.ts';
import { hostFacts } from './host-facts.ts';
import { textOf } from '../netlink/wire.ts';
import { linkGroups, macBytes } from './record.ts';
import type { AttachmentSpec } from './record.ts';
import { linkLocalOf } from './ruleset.ts';

export interface CountedLink {
  readonly link: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** The effects: what the engine does to the kernel, in the network namespace of this thread. Synchronous, for the network's Worker. */
export interface HostKernel {
  links(): readonly Link[];
  link(name: string): Link | undefined;
  linkAt(index: number): Link | undefined;
  /** CIDR each. */
  addressesOf(index: number): readonly string[];
  /** A link that others made is told by the rules like one of ours, or no longer. One that is gone is fine. */
  claim(hostInterface: string, claimed: boolean): void;
  /** Brings up `lo`. */
  raiseLoopback(netnsFd: number): void;
  /** MTU of the link that the default route leaves by; 1500 without one. */
  defaultMtu(): number;
  ensureBridge(spec: AttachmentSpec): number;
  /** Makes the pair, configures the pod's end, brings both up. @param netnsFd the pod's network namespace */
  connect(spec: AttachmentSpec, netnsFd: number): void;
  /** Puts a link that stands back on its bridge. */
  rejoin(spec: AttachmentSpec): void;
  /** Returns when the bridge forwards for the link. */
  awaitForwarding(spec: AttachmentSpec): void;
  /** At once: down, off its bridge, marked as doomed. A link that is gone is fine. */
  isolate(hostInterface: string): void;
  /** Deletes what `isolate` has marked, all at once; takes tens of milliseconds. */
  deleteDoomed(): void;
  deleteLink(name: string): void;
  rules(requests: readonly Request[]): void;
  hasTable(table: Table): boolean;
  /** Its rules with what they have counted; none when it is not there. */
  countedRules(table: Table): readonly CountedRule[];
  /** As the kernel has them; none when the set or table is not there. */
  listedElements(table: Table, set: string): readonly ListedElement[];
  listedRules(table: Table): readonly ListedRule[];
  /** Elements of a set whose key is a link's name. */
  countedLinks(table: Table, set: string): readonly CountedLink[];
  forget(stale: readonly StalePort[]): void;
  close(): void;
}

const forwarding = 3;
const forwardingDeadlineMs = 2000;

export function openHostKernel(): HostKernel {
  const hasIpv6 = existsSync('/proc/sys/net/ipv6');
  const route = openNetlink(NETLINK_ROUTE);
  const filter = openNetlink(NETLINK_NETFILTER);
  const quiet = (link: links.LinkName): Request[] => (hasIpv6 ? [links.setNoOwnIpv6(link)] : []);
  const bridges = new Map<string, number>();

  const link = (name: string): Link | undefined => links.lookUp(route, { name });

  const createBridge = (spec: AttachmentSpec): Link => {
    try {
      route.run([links.createBridge({ name: spec.bridge.name, mac: macBytes(spec.bridge.mac), group: linkGroups.bridge })]);
    } catch (thrown) {
      if (!isRefusal(thrown, 'EEXIST')) throw thrown;
    }
    const made = link(spec.bridge.name);
    if (made === undefined) throw notABridge(spec.bridge.name, 'it vanished while it was made');
    return made;
  };

  const ensureBridge = (spec: AttachmentSpec): number => {
    const { name, addresses, promiscuous } = spec.bridge;
    const bridge = link(name) ?? createBridge(spec);
    if (bridge.kind !== 'bridge') throw notABridge(name, `it is a link of kind ${bridge.kind === '' ? 'hardware' : bridge.kind}`);
    const known = `${bridge.index} ${addresses.join(' ')}`;
    if (bridge.up && bridges.get(known) === bridge.index) return bridge.index;
    const own = { index: bridge.index };
    route.run([
      ...addresses.flatMap((address) => {
        const prefix = parsePrefix(address);
        return prefix === undefined ? [] : [routes.addAddress(bridge.index, ipBytes(prefix.address), prefix.length)];
      }),
      ...(promiscuous ? [links.setPromiscuous(own)] : []),
      links.setUp(own),
      ...(spec.portMappings.length > 0 || addresses.length > 0 ? [links.setRouteLocalnet(own)] : []),
    ]);
    if (addresses.length > 0) enableForwarding(addresses);
    bridges.set(known, bridge.index);
    return bridge.index;
  };

  const createPair = (spec: AttachmentSpec, netnsFd: number, master: number): void => {
    const own = { name: spec.hostInterface };
    const peer = { name: spec.interface, netnsFd, mac: macBytes(spec.mac) };
    route.run([
      links.createVeth({ name: spec.hostInterface, group: linkGroups.pod, mtu: spec.mtu, master, peer }),
      ...quiet(own),
      links.setUp(own),
      ...(spec.bridge.hairpin ? [links.setHairpin(own)] : []),
    ]);
  };

  const configurePod = (pod: NetlinkSocket, spec: AttachmentSpec): void => {
    const index = links.readLink(pod.ask(links.getLink({ name: spec.interface }))[0] ?? impossible(spec.interface)).index;
    const addresses = spec.addresses.flatMap(({ ip, prefixLength }) => {
      const address = parseIp(ip);
      return address === undefined ? [] : [routes.addAddress(index, ipBytes(address), prefixLength)];
    });
    const linkLocal = spec.addresses.some(({ ip }) => ip.includes(':')) ? [routes.addAddress(index, linkLocalOf(spec.mac), 64)] : [];
    const podRoutes = spec.routes.flatMap(({ dst, gw }) => {
      const prefix = parsePrefix(dst);
      const gateway = gw === undefined ? undefined : parseIp(gw);
      if (prefix === undefined) return [];
      const destination = ipBytes(networkOf(prefix));
      return [
        routes.addRoute({
          index,
          destination,
          prefixLength: prefix.length,
          ...(gateway === undefined ? {} : { gateway: ipBytes(gateway) }),
        }),
      ];
    });
    pod.run([
      links.setUp({ index: links.loopbackIndex }),
      ...quiet({ index }),
      links.setUp({ index }),
      ...addresses,
      ...linkLocal,
      ...podRoutes,
    ]);
  };

  return {
    links: () => route.dump(links.listLinks).map(links.readLink),
    link,
    linkAt: (index) => links.lookUp(route, { index }),
    addressesOf: (index) => listAddresses(route, index).map(({ address, length }) => `${formatIp(ipFromBytes(address))}/${length}`),
    claim(hostInterface, claimed) {
      tolerating(['ENODEV'], () => route.run([links.setGroup({ name: hostInterface }, claimed ? linkGroups.pod : 0)]));
    },
    raiseLoopback(netnsFd) {
      const pod = inNamespaces({ net: netnsFd }, () => openNetlink(NETLINK_ROUTE));
      try {
        pod.run([links.setUp({ index: links.loopbackIndex })]);
      } finally {
        pod.close();
      }
    },
    defaultMtu: () => hostFacts(route).defaultMtu,
    ensureBridge,
    connect(spec, netnsFd) {
      const master = ensureBridge(spec);
      const pod = inNamespaces({ net: netnsFd }, () => openNetlink(NETLINK_ROUTE));
      try {
        createPair(spec, netnsFd, master);
        configurePod(pod, spec);
      } finally {
        pod.close();
      }
    },
    rejoin(spec) {
      const own = { name: spec.hostInterface };
      route.run([links.setMaster(own, ensureBridge(spec)), links.setUp(own), ...(spec.bridge.hairpin ? [links.setHairpin(own)] : [])]);
    },
    awaitForwarding(spec) {
      const deadline = performance.now() + forwardingDeadlineMs;
      while (link(spec.hostInterface)?.portState !== forwarding) {
        if (performance.now() > deadline) throw notForwarding(spec);
        sleep(0.1);
      }
    },
    isolate(hostInterface) {
      const own = { name: hostInterface };
      route
        .send([links.setDown(own), links.setMaster(own, 0), links.setGroup(own, linkGroups.doomed)].map(acknowledged))
        .forEach(({ error }) => {
          if (!isRefusal(error, 'ENODEV')) throw error;
        });
    },
    deleteDoomed() {
      tolerating(['ENODEV'], () => route.run([links.deleteGroup(linkGroups.doomed)]));
    },
    deleteLink(name) {
      tolerating(['ENODEV'], () => route.run([links.deleteLink({ name })]));
    },
    rules: (requests) => transact(filter, requests),
    hasTable(table) {
      try {
        return filter.ask(getTable(table)).length > 0;
      } catch (thrown) {
        if (isRefusal(thrown, 'ENOENT')) return false;
        throw thrown;
      }
    },
    countedRules: (table) => dumped(() => filter.dump(listRules(table)).map(readRule)),
    listedElements: (table, set) => dumped(() => filter.dump(listElements(table, set)).flatMap(readListedElements)),
    listedRules: (table) => dumped(() => filter.dump(listRules(table)).map(readListedRule)),
    countedLinks: (table, set) =>
      dumped(() =>
        filter
          .dump(listElements(table, set))
          .flatMap(readElements)
          .map(({ key, ...counts }) => ({ link: textOf(key), ...counts })),
      ),
    forget: (stale) => forgetConnections(filter, stale),
    close() {
      route.close();
      filter.close();
    },
  };
}

const NLM_F_ACK = 4;
const acknowledged = (request: Request): Request => ({ ...request, flags: request.flags | NLM_F_ACK });

function tolerating(errnos: readonly string[], body: () => void): void {
  try {
    body();
  } catch (thrown) {
    if (!isRefusal(thrown, ...errnos)) throw thrown;
  }
}

/** Nothing when what is listed is not there. */
function dumped<Item>(list: () => readonly Item[]): readonly Item[] {
  try {
    return list();
  } catch (thrown) {
    if (isRefusal(thrown, 'ENOENT')) return [];
    throw thrown;
  }
}

const sleepCell = new Int32Array(new SharedArrayBuffer(4));
const sleep = (ms: number): void => void Atomics.wait(sleepCell, 0, 0, ms);

/** A gateway forwards. Written only when it is off: a container's /proc/sys may be read-only and already right. */
function enableForwarding(addresses: readonly string[]): void {
  const files = [
    ...(addresses.some((address) => !address.includes(':')) ? ['/proc/sys/net/ipv4/ip_forward'] : []),
    ...(addresses.some((address) => address.includes(':')) ? ['/proc/sys/net/ipv6/conf/all/forwarding'] : []),
  ];
  for (const file of files) if (readFileSync(file, 'utf8').trim() !== '1') writeFileSync(file, '1');
}

function notABridge(name: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BRIDGE_UNUSABLE',
    kind: 'precondition',
    attempted: 'use the bridge',
    on: name,
    why,
    fix: "rename that link, or give another name as 'bridge' in the conflist",
  });
}

function notForwarding(spec: AttachmentSpec): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_LINK_NOT_UP',
    kind: 'deadline',
    attempted: 'wait for the link',
    on: spec.hostInterface,
    why: `the bridge ${spec.bridge.name} did not forward for it within ${forwardingDeadlineMs} ms`,
    fix: 'check that spanning tree is off on the bridge and that the pod still exists',
  });
}

function impossible(name: string): never {
  throw new Error(`the kernel made ${name} and does not know it`);
}
