import { PortcullisError } from '../../base/errors/index.ts';
import * as netlink from '../../base/netlink/index.ts';
import {
  holdAddress,
  holdSolicitedNode,
  indexOf,
  setPortUp,
  acknowledged,
} from '../../base/netlink/index.ts';
import type { NetlinkSocket, Outcome, Request } from '../../base/netlink/index.ts';
import { ipBytes, networkOf, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { PodNamespace } from '../namespaces/netns.ts';
import type { PodBridges } from './pod-bridge.ts';
import { linkGroups, macBytes } from '../database/record.ts';
import type { AttachmentSpec } from '../database/record.ts';
import { linkLocalOf } from './rules/ruleset.ts';

/**
 * Creates the pair of links of a pod of our own runtime with three messages to the kernel: the pair, with its
 * host's end on the bridge and down; the pod's end, configured and up; the host's end up. The host's end
 * comes last, so that the bridge forwards at once, and no traffic of the pod passes before everything is set
 * up. The bridge knows which address is behind the port, and does not flood frames for other addresses to
 * it: the pod receives only its own frames.
 */

const forwarding = 3;
const forwardingDeadlineMs = 2000;

/** Parameters that are the same for every pair. */
export interface PairMaker {
  readonly route: NetlinkSocket;
  readonly bridges: PodBridges;
  readonly hasIpv6: boolean;
  /** Alias of the host's end, which identifies its root. */
  readonly tag: string;
}

/**
 * Creates the pair. An existing pair is refused with NETWORK_KERNEL_EEXIST.
 * @throws NETWORK_KERNEL_<ERRNO> · NETWORK_BRIDGE_UNUSABLE · NETWORK_LINK_NOT_UP
 */
export function makePodLink(spec: AttachmentSpec, maker: PairMaker, pod: PodNamespace): void {
  const { route, bridges, hasIpv6 } = maker;
  makePair(spec, maker, pod.netnsFd);
  configurePod(spec, pod.route, made(pod.route, spec.interface), hasIpv6);
  const own = { name: spec.hostInterface };
  const port = made(route, spec.hostInterface);
  holdGroups(spec, route, bridges, port);
  const held = acknowledged(holdAddress(port, macBytes(spec.mac)));
  const [, , found] = passed(route.exchange([held, acknowledged(netlink.setUp(own)), netlink.getLink(own)]));
  if (found !== undefined && netlink.readLink(found).portState === forwarding) return;
  // The bridge was set down meanwhile, or needs time (spanning tree).
  bridges.ensure(spec);
  awaitForwarding(spec, route);
}

/**
 * Registers the pod's multicast groups at the bridge. The pod's kernel reports them only once, when its
 * addresses are new, and at that time nothing passes. On a bridge with a querier the pod could not be found
 * by IPv6 until the next query, 125 s later. A bridge without multicast snooping refuses the request, and
 * floods instead.
 */
function holdGroups(spec: AttachmentSpec, route: NetlinkSocket, bridges: PodBridges, port: number): void {
  const own = ownIpv6(spec);
  if (own.length === 0) return;
  const bridge = bridges.lastSeen(spec) ?? bridges.ensure(spec);
  route.exchange(own.map((address) => acknowledged(holdSolicitedNode(bridge, port, address))));
}

/** Returns the pod's IPv6 addresses, with the link-local address that it has in addition. */
function ownIpv6(spec: AttachmentSpec): Buffer[] {
  const six = spec.addresses.flatMap(({ ip }) => parseIp(ip) ?? []).filter(({ family }) => family === 6);
  return six.length === 0 ? [] : [...six.map(ipBytes), linkLocalOf(spec.mac)];
}

/**
 * Creates the pair on the last known bridge. If the bridge was replaced, the kernel refuses, and the bridge
 * is looked up again.
 */
function makePair(spec: AttachmentSpec, { route, bridges, hasIpv6, tag }: PairMaker, netnsFd: number): void {
  const own = { name: spec.hostInterface };
  const peer = { name: spec.interface, netnsFd, mac: macBytes(spec.mac) };
  const { hairpin } = spec.bridge;
  const on = (master: number): readonly Outcome[] =>
    route.exchange([
      acknowledged(
        netlink.createVeth({ name: spec.hostInterface, group: linkGroups.pod, mtu: spec.mtu, master, peer }),
      ),
      acknowledged(setPortUp(own, { hairpin, noOwnIpv6: hasIpv6, onlyKnown: true, alias: tag })),
    ]);
  const seen = bridges.lastSeen(spec);
  const tried = seen === undefined ? undefined : on(seen);
  const errno = tried?.[0]?.refused?.errno;
  const outcomes =
    tried === undefined || errno === 'EINVAL' || errno === 'ENODEV' ? on(bridges.ensure(spec)) : tried;
  passed(outcomes);
}

/** Returns the index of an end of the pair. */
function made(socket: NetlinkSocket, name: string): number {
  const index = indexOf(socket, name);
  if (index === undefined) throw new Error(`the kernel made ${name} and does not know it`);
  return index;
}

/** Returns the first answer to each message. @throws the first refusal */
function passed(outcomes: readonly Outcome[]): (Outcome['answers'][number] | undefined)[] {
  return outcomes.map(({ answers, refused }) => {
    if (refused !== undefined) throw refused.error();
    return answers[0];
  });
}

/**
 * Configures the existing end in the pod: up, with its addresses and routes. Settings that exist already are
 * no error.
 */
export function configurePod(
  spec: AttachmentSpec,
  pod: NetlinkSocket,
  index: number,
  hasIpv6: boolean,
): void {
  const addresses = spec.addresses.flatMap(({ ip, prefixLength }) => {
    const address = parseIp(ip);
    return address === undefined ? [] : [netlink.addAddress(index, ipBytes(address), prefixLength)];
  });
  const linkLocal = ownIpv6(spec).length > 0 ? [netlink.addAddress(index, linkLocalOf(spec.mac), 64)] : [];
  pod.run([
    netlink.setUp({ index: netlink.loopbackIndex }),
    ...(hasIpv6 ? [netlink.setNoOwnIpv6({ index })] : []),
    netlink.setUp({ index }),
    ...addresses,
    ...linkLocal,
    ...podRoutes(spec, index),
  ]);
}

function podRoutes(spec: AttachmentSpec, index: number): Request[] {
  return spec.routes.flatMap(({ dst, gw }) => {
    const prefix = parsePrefix(dst);
    const gateway = gw === undefined ? undefined : parseIp(gw);
    if (prefix === undefined) return [];
    const destination = ipBytes(networkOf(prefix));
    return [
      netlink.addRoute({
        index,
        destination,
        prefixLength: prefix.length,
        ...(gateway === undefined ? {} : { gateway: ipBytes(gateway) }),
      }),
    ];
  });
}

/** Attaches an existing link to its bridge again. */
export function rejoinPodLink(
  spec: AttachmentSpec,
  { route, bridges, tag }: Omit<PairMaker, 'hasIpv6'>,
): void {
  const own = { name: spec.hostInterface };
  route.run([
    // The rules identify the link by its group, so the group is set before the link joins the bridge.
    netlink.setGroup(own, linkGroups.pod),
    netlink.setMaster(own, bridges.ensure(spec)),
    setPortUp(own, { hairpin: spec.bridge.hairpin, noOwnIpv6: false, onlyKnown: true, alias: tag }),
    netlink.setUp(own),
  ]);
  const link = netlink.lookUp(route, own);
  if (link === undefined) return;
  route.run([holdAddress(link.index, macBytes(spec.mac))]);
  holdGroups(spec, route, bridges, link.index);
}

function awaitForwarding(spec: AttachmentSpec, route: NetlinkSocket): void {
  const deadline = performance.now() + forwardingDeadlineMs;
  while (netlink.lookUp(route, { name: spec.hostInterface })?.portState !== forwarding) {
    if (performance.now() > deadline) throw notForwarding(spec);
    Atomics.wait(sleepCell, 0, 0, 0.1);
  }
}

const sleepCell = new Int32Array(new SharedArrayBuffer(4));

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
