import { existsSync } from 'node:fs';
import { NETLINK_NETFILTER, NETLINK_ROUTE } from '../../base/kernel/index.ts';
import { formatIp, ipBytes, ipFromBytes, parseIp } from '../spec/address.ts';
import { forgetConnections } from '../netlink/conntrack.ts';
import type { StalePort } from '../netlink/conntrack.ts';
import { isRefusal } from '../netlink/kernel-failure.ts';
import { removeLink } from '../netlink/link-removal.ts';
import { rename } from '../netlink/link-settings.ts';
import * as links from '../netlink/links.ts';
import type { Link } from '../netlink/links.ts';
import { listAddresses } from '../netlink/route-tables.ts';
import { numberOf } from '../netlink/namespace-numbers.ts';
import { lookUpRoute, readRouteLink } from '../netlink/routes.ts';
import { getTable, listElements, listRules, readElements, readRule } from '../netlink/nftables.ts';
import { transact } from '../netlink/nft-transactions.ts';
import type { CountedRule, Table } from '../netlink/nftables.ts';
import { readListedElements, readListedRule } from '../netlink/nft-readout.ts';
import type { ListedElement, ListedRule } from '../netlink/nft-readout.ts';
import { acknowledged, openNetlink } from '../netlink/socket.ts';
import type { NetlinkSocket, Request } from '../netlink/socket.ts';
import { hostFacts } from './host-facts.ts';
import { textOf } from '../netlink/wire.ts';
import type { PodNamespace } from './netns.ts';
import { missingRules } from '../plugins/interface/constant-rules.ts';
import type { ConstantRules } from '../plugins/interface/constant-rules.ts';
import { createPodBridges } from './pod-bridge.ts';
import { makePodLink, rejoinPodLink } from './pod-link.ts';
import { restorePodEnd } from './pod-end.ts';
import { linkGroups } from './record.ts';
import type { AttachmentSpec } from './record.ts';

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
  /** Whether what is sent there stays on this host. */
  isOwnAddress(ip: string): boolean;
  /** Index of the link by which packets to the address leave; undefined: there is no way. */
  routeOf(ip: string): number | undefined;
  /** By its group the rules tell a link: one of a bridge, one that the host routes to, or none of theirs. One that is gone is fine. */
  claim(hostInterface: string, group: 'plugin' | 'pod' | 'routed'): void;
  /** Alias of links of this root. */
  readonly tag: string;
  /** Gives a link that stands the alias. One that is gone is fine. */
  mark(hostInterface: string): void;
  /** Takes the link down and names it. It keeps its index, bridge and group. */
  rename(index: number, name: string): void;
  /** The number by which this network namespace knows the open one. */
  namespaceNumber(netnsFd: number): number;
  /** Gives the pod's end, by its index, its name, MAC address, addresses and routes. */
  restore(spec: AttachmentSpec, pod: PodNamespace, index: number): void;
  /** Brings up `lo`. */
  raiseLoopback(pod: NetlinkSocket): void;
  /** MTU of the link that the default route leaves by; 1500 without one. */
  defaultMtu(): number;
  /** Makes the pair, configures the pod's end, brings both up. Returns when the bridge forwards for it. */
  connect(spec: AttachmentSpec, pod: PodNamespace): void;
  /** Puts a link that stands back on its bridge. */
  rejoin(spec: AttachmentSpec): void;
  /** Down: nothing passes any more. A link that is gone is fine. */
  isolate(hostInterface: string): void;
  /** Takes a link down and off its bridge and marks it. A link that is gone is fine. */
  doom(hostInterface: string): void;
  /** Deletes what `doom` has marked, all at once; takes tens of milliseconds. */
  deleteDoomed(): void;
  deleteLink(name: string): void;
  rules(requests: readonly Request[]): void;
  hasTable(table: Table): boolean;
  /** Whether chains of the table have fewer rules than these, or it is not there. Quick while nobody else changes rules. */
  lacksRules(table: Table, constant: ConstantRules): boolean;
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

/** @param tag alias of the links that it makes or claims: of which root they are */
export function openHostKernel(tag: string): HostKernel {
  const hasIpv6 = existsSync('/proc/sys/net/ipv6');
  const route = openNetlink(NETLINK_ROUTE);
  const filter = openNetlink(NETLINK_NETFILTER);
  const maker = { route, bridges: createPodBridges(route, tag), hasIpv6, tag };

  const link = (name: string): Link | undefined => links.lookUp(route, { name });
  const routeOf = (ip: string): number | undefined => {
    const address = parseIp(ip);
    const answer =
      address === undefined ? undefined : route.find(lookUpRoute(ipBytes(address)), 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL');
    return answer === undefined ? undefined : readRouteLink(answer);
  };

  return {
    links: () => route.dump(links.listLinks).map(links.readLink),
    link,
    linkAt: (index) => links.lookUp(route, { index }),
    addressesOf: (index) => listAddresses(route, index).map(({ address, length }) => `${formatIp(ipFromBytes(address))}/${length}`),
    isOwnAddress: (ip) => routeOf(ip) === links.loopbackIndex,
    routeOf,
    claim(hostInterface, group) {
      const own = { name: hostInterface };
      const mark = group === 'plugin' ? [] : [links.setAlias(own, tag)];
      tolerating(['ENODEV'], () => route.run([links.setGroup(own, linkGroups[group]), ...mark]));
    },
    rename: (index, name) => route.run([links.setDown({ index }), rename(index, name)]),
    namespaceNumber: (netnsFd) => numberOf(route, netnsFd),
    restore: (spec, pod, index) => restorePodEnd(spec, pod.route, index, hasIpv6),
    raiseLoopback: (pod) => pod.run([links.setUp({ index: links.loopbackIndex })]),
    defaultMtu: () => hostFacts(route).defaultMtu,
    connect: (spec, pod) => makePodLink(spec, maker, pod),
    rejoin: (spec) => rejoinPodLink(spec, maker),
    tag,
    mark(hostInterface) {
      tolerating(['ENODEV'], () => route.run([links.setAlias({ name: hostInterface }, tag)]));
    },
    isolate(hostInterface) {
      tolerating(['ENODEV'], () => route.run([links.setDown({ name: hostInterface })]));
    },
    doom(hostInterface) {
      const own = { name: hostInterface };
      // Off the bridge before it leaves the group by which the rules know it.
      for (const { refused } of route.exchange([
        acknowledged(links.setDown(own)),
        acknowledged(links.setMaster(own, 0)),
        acknowledged(links.setGroup(own, linkGroups.doomed)),
      ]))
        if (refused !== undefined && refused.errno !== 'ENODEV') throw refused.error();
    },
    deleteDoomed() {
      tolerating(['ENODEV'], () => route.run([links.deleteGroup(linkGroups.doomed)]));
    },
    deleteLink(name) {
      const standing = link(name);
      if (standing !== undefined) removeLink(route, standing.index, () => openNetlink(NETLINK_ROUTE));
    },
    rules: (requests) => transact(filter, requests),
    hasTable(table) {
      return filter.find(getTable(table), 'ENOENT') !== undefined;
    },
    lacksRules: (table, constant) => missingRules(filter, table, constant).length > 0,
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
