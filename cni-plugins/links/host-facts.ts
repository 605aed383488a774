import { existsSync } from 'node:fs';
import * as netlink from '../../base/netlink/index.ts';
import type { Link, NetlinkSocket } from '../../base/netlink/index.ts';
import type { HostFacts } from '../plugins/contract/contract.ts';

const ethernetMtu = 1500;

/**
 * Addresses that only a default route leads to: TEST-NET-1 of RFC 5737, and the documentation prefix of RFC
 * 3849.
 */
const farAway = [Buffer.of(192, 0, 2, 1), Buffer.from('20010db8000000000000000000000001', 'hex')];

/** In ms. When pods start in quick succession, the default route is looked up only once per this interval. */
const lastingMs = 100;
const lately = new WeakMap<NetlinkSocket, { readonly until: number; readonly link: Link | undefined }>();

function defaultLinkLately(route: NetlinkSocket): Link | undefined {
  const now = performance.now();
  const known = lately.get(route);
  if (known !== undefined && now < known.until) return known.link;
  const link = defaultLink(route);
  lately.set(route, { until: now + lastingMs, link });
  return link;
}

/** Reads each fact from the kernel when it is requested, and only once. */
export function hostFacts(route: NetlinkSocket): HostFacts {
  let leaving: { readonly link: Link | undefined } | undefined;
  const byDefault = (): Link | undefined => (leaving ??= { link: defaultLinkLately(route) }).link;
  return {
    get defaultMtu() {
      return byDefault()?.mtu ?? ethernetMtu;
    },
    get defaultLink() {
      return byDefault()?.name;
    },
    mtuOf: (name) => netlink.lookUp(route, { name })?.mtu,
    get hasIpv6() {
      return existsSync('/proc/sys/net/ipv6');
    },
  };
}

/** Returns the outgoing link of the default route: of IPv4, otherwise of IPv6. */
function defaultLink(route: NetlinkSocket): Link | undefined {
  for (const { answers, refused } of route.exchange(farAway.map(netlink.lookUpRoute))) {
    if (refused !== undefined && !noRoute.includes(refused.errno)) throw refused.error();
    const index = answers[0] === undefined ? 0 : netlink.readRouteLink(answers[0]);
    const link =
      index === 0 || index === netlink.loopbackIndex ? undefined : netlink.lookUp(route, { index });
    if (link !== undefined) return link;
  }
  return undefined;
}

const noRoute: readonly string[] = [
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EACCES',
  'EINVAL',
  'EAFNOSUPPORT',
  'EOPNOTSUPP',
];
