import { existsSync } from 'node:fs';
import { NETLINK_NETFILTER, NETLINK_ROUTE, inNamespaces } from '../../base/kernel/index.ts';
import { formatIp, ipBytes, ipFromBytes, ipTextBytes, parseIp } from '../../base/addresses/index.ts';
import * as netlink from '../../base/netlink/index.ts';
import {
  acknowledged,
  forgetAddresses,
  forgetConnections,
  getTable,
  listAddresses,
  listElements,
  listRules,
  lookUpRoute,
  numberOf,
  openNetlink,
  readElements,
  readListedElements,
  readListedRule,
  readRouteLink,
  readRule,
  removeLink,
  rename,
  textOf,
  tolerating,
  transact,
} from '../../base/netlink/index.ts';
import type {
  StalePort,
  Link,
  Table,
  CountedRule,
  ListedElement,
  ListedRule,
  NetlinkSocket,
  Received,
  Request,
} from '../../base/netlink/index.ts';
import { hostFacts } from './host-facts.ts';
import type { PodNamespace } from '../namespaces/netns.ts';
import { missingRules } from '../constant-rules/constant-rules.ts';
import type { ConstantRules } from '../constant-rules/constant-rules.ts';
import { createPodBridges } from './pod-bridge.ts';
import { makePodLink, rejoinPodLink } from './pod-link.ts';
import { restorePodEnd } from './pod-end.ts';
import { linkGroups } from '../database/record.ts';
import type { AttachmentSpec } from '../database/record.ts';

export interface CountedLink {
  readonly link: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/**
 * The effects of the engine on the kernel, in the network namespace of this thread. Synchronous, for the
 * network's Worker.
 */
export interface HostKernel {
  links(): readonly Link[];
  link(name: string): Link | undefined;
  linkAt(index: number): Link | undefined;
  /** Returns the addresses in CIDR form. */
  addressesOf(index: number): readonly string[];
  /** Returns whether packets to the address stay on this host. */
  isOwnAddress(ip: string): boolean;
  /**
   * Returns the index of the link through which packets to the address leave, or undefined if there is no
   * route.
   */
  routeOf(ip: string): number | undefined;
  /**
   * Sets the group by which the rules identify a link: a port of a bridge, a link that the host routes to, or
   * a link without rules. Succeeds if the link is gone.
   */
  claim(hostInterface: string, group: 'plugin' | 'pod' | 'routed'): void;
  /** The alias of the links of this root. */
  readonly tag: string;
  /** Sets the alias of an existing link. Succeeds if the link is gone. */
  mark(hostInterface: string): void;
  /** Sets the link down and renames it. The link keeps its index, bridge and group. */
  rename(index: number, name: string): void;
  /** Returns the number of the open namespace within this network namespace. */
  namespaceNumber(netnsFd: number): number;
  /** Restores name, MAC address, addresses and routes of the pod's end, which the index identifies. */
  restore(spec: AttachmentSpec, pod: PodNamespace, index: number): void;
  /** Brings up `lo`. */
  raiseLoopback(pod: NetlinkSocket): void;
  /** Returns the MTU of the default route's link, or 1500 if there is none. */
  defaultMtu(): number;
  /**
   * Creates the pair, configures the pod's end, and brings both ends up. Returns when the bridge forwards for
   * it.
   */
  connect(spec: AttachmentSpec, pod: PodNamespace): void;
  /** Attaches an existing link to its bridge again. */
  rejoin(spec: AttachmentSpec): void;
  /** Sets the link down, so that nothing passes any more. Succeeds if the link is gone. */
  isolate(hostInterface: string): void;
  /**
   * Sets a link down, removes it from its bridge and marks it for deletion. @returns false if the link is
   * gone
   */
  deleteLater(hostInterface: string): boolean;
  /**
   * Deletes the pod's end, which its name and MAC address identify, and the other end with it, wherever that
   * is. Succeeds if the pod has no such link.
   */
  deleteEnd(spec: AttachmentSpec, pod: PodNamespace): void;
  /** Deletes all links that `deleteLater` has marked at once. Takes tens of milliseconds. */
  deleteMarked(): void;
  deleteLink(name: string): void;
  rules(requests: readonly Request[]): void;
  hasTable(table: Table): boolean;
  /**
   * Returns whether chains of the table have fewer rules than these, or the table is missing. Fast as long as
   * no other program changes rules.
   */
  lacksRules(table: Table, constant: ConstantRules): boolean;
  /**
   * Returns the rules of these chains with their counters; none of a chain or table that is missing.
   * @param chains absent: all chains, which takes less time if the table has few rules
   */
  countedRules(table: Table, chains?: Iterable<string>): readonly CountedRule[];
  /** Returns the elements as the kernel has them; none if the set or table is missing. */
  listedElements(table: Table, set: string): readonly ListedElement[];
  /** Returns the rules of a chain; none if the chain or table is missing. */
  listedRules(table: Table, chain: string): readonly ListedRule[];
  /** Returns the elements of a set whose key is a link name. */
  countedLinks(table: Table, set: string): readonly CountedLink[];
  forget(stale: readonly StalePort[]): void;
  /** Forgets all tracked connections that begin or end at one of these addresses. */
  forgetAddresses(addresses: readonly string[]): void;
  close(): void;
}

/** @param tag alias of the links that it creates or claims, which identifies their root */
export function openHostKernel(tag: string): HostKernel {
  const hasIpv6 = existsSync('/proc/sys/net/ipv6');
  const route = openNetlink(NETLINK_ROUTE);
  const filter = openNetlink(NETLINK_NETFILTER);
  const maker = { route, bridges: createPodBridges(route, tag), hasIpv6, tag };

  const link = (name: string): Link | undefined => netlink.lookUp(route, { name });
  const routeOf = (ip: string): number | undefined => {
    const address = parseIp(ip);
    const answer =
      address === undefined
        ? undefined
        : route.find(lookUpRoute(ipBytes(address)), 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL');
    return answer === undefined ? undefined : readRouteLink(answer);
  };

  /** The rules of a table with thousands of rules are read chain by chain: see `listRules`. */
  const rulesIn = (table: Table, chains: Iterable<string | undefined>): readonly Received[] =>
    dumped(() => [...chains].flatMap((chain) => filter.dump(listRules(table, chain))));

  return {
    links: () => route.dump(netlink.listLinks).map(netlink.readLink),
    link,
    linkAt: (index) => netlink.lookUp(route, { index }),
    addressesOf: (index) =>
      listAddresses(route, index).map(({ address, length }) => `${formatIp(ipFromBytes(address))}/${length}`),
    isOwnAddress: (ip) => routeOf(ip) === netlink.loopbackIndex,
    routeOf,
    claim(hostInterface, group) {
      const own = { name: hostInterface };
      const mark = group === 'plugin' ? [] : [netlink.setAlias(own, tag)];
      tolerating(['ENODEV'], () => route.run([netlink.setGroup(own, linkGroups[group]), ...mark]));
    },
    rename: (index, name) => route.run([netlink.setDown({ index }), rename(index, name)]),
    namespaceNumber: (netnsFd) => numberOf(route, netnsFd),
    restore: (spec, pod, index) => restorePodEnd(spec, pod.route, index, hasIpv6),
    raiseLoopback: (pod) => pod.run([netlink.setUp({ index: netlink.loopbackIndex })]),
    defaultMtu: () => hostFacts(route).defaultMtu,
    connect: (spec, pod) => makePodLink(spec, maker, pod),
    rejoin: (spec) => rejoinPodLink(spec, maker),
    tag,
    mark(hostInterface) {
      tolerating(['ENODEV'], () => route.run([netlink.setAlias({ name: hostInterface }, tag)]));
    },
    isolate(hostInterface) {
      tolerating(['ENODEV'], () => route.run([netlink.setDown({ name: hostInterface })]));
    },
    deleteLater(hostInterface) {
      const own = { name: hostInterface };
      // The link leaves the bridge before it leaves the group by which the rules identify it.
      const outcomes = route.exchange([
        acknowledged(netlink.setDown(own)),
        acknowledged(netlink.setMaster(own, 0)),
        acknowledged(netlink.setGroup(own, linkGroups.deleting)),
      ]);
      for (const { refused } of outcomes)
        if (refused !== undefined && refused.errno !== 'ENODEV') throw refused.error();
      return outcomes.every(({ refused }) => refused === undefined);
    },
    deleteEnd(spec, { netnsFd, route: inside }) {
      const end = netlink.lookUp(inside, { name: spec.interface });
      if (end?.kind !== 'veth' || end.mac !== spec.mac) return;
      removeLink(inside, end.index, () => inNamespaces({ net: netnsFd }, () => openNetlink(NETLINK_ROUTE)));
    },
    deleteMarked() {
      tolerating(['ENODEV'], () => route.run([netlink.deleteGroup(linkGroups.deleting)]));
    },
    deleteLink(name) {
      const existing = link(name);
      if (existing !== undefined) removeLink(route, existing.index, () => openNetlink(NETLINK_ROUTE));
    },
    rules: (requests) => transact(filter, requests),
    hasTable(table) {
      return filter.find(getTable(table), 'ENOENT') !== undefined;
    },
    lacksRules: (table, constant) => missingRules(filter, table, constant).length > 0,
    countedRules: (table, chains) => rulesIn(table, chains ?? [undefined]).map(readRule),
    listedElements: (table, set) =>
      dumped(() => filter.dump(listElements(table, set)).flatMap(readListedElements)),
    listedRules: (table, chain) => rulesIn(table, [chain]).map(readListedRule),
    countedLinks: (table, set) =>
      dumped(() =>
        filter
          .dump(listElements(table, set))
          .flatMap(readElements)
          .map(({ key, ...counts }) => ({ link: textOf(key), ...counts })),
      ),
    forget: (stale) => forgetConnections(filter, route, stale),
    forgetAddresses: (addresses) =>
      forgetAddresses(
        filter,
        addresses.flatMap((text) => ipTextBytes(text) ?? []),
      ),
    close() {
      route.close();
      filter.close();
    },
  };
}

/** Returns an empty list if the listed object is missing. */
function dumped<Item>(list: () => readonly Item[]): readonly Item[] {
  return tolerating(['ENOENT'], list) ?? [];
}
