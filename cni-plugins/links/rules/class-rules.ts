import {
  counter,
  differs,
  equals,
  fragmentOffset,
  inSet,
  masked,
  meta,
  notInSet,
  payload,
  register,
  verdict,
  verdictOf,
  be16,
} from '../../../base/netlink/index.ts';
import type { Chain, NamedSet } from '../../../base/netlink/index.ts';

/**
 * The traffic that the class of a link lets through, as chains that a table's hooks jump to. Pure. The same
 * definitions apply wherever a link meets the host: `frames` on a bridge; `packets` and `arp` where the host
 * routes to the link (no single hook sees both).
 */
export type Seen = 'frames' | 'packets' | 'arp';

const etherType = { ip: be16(0x0800), arp: be16(0x0806), ip6: be16(0x86dd) };
const nfproto = { ip: Buffer.of(2), ip6: Buffer.of(10) };
const UDP = 17;
const ICMPV6 = 58;
/** Only DHCP servers and relays send to it. */
const DHCP_CLIENT_PORT = be16(68);
/** Router solicitation, and reports of Multicast Listener Discovery (RFC 4861, RFC 2710, RFC 3810). */
const OF_KERNELS = [131, 132, 133, 143];
const NEIGHBOUR_SOLICITATION = 135;
const ROUTER_ADVERTISEMENT = 134;
const NEIGHBOUR_ADVERTISEMENT = 136;
const REDIRECT = 137;
const [r0, r4, r6] = [register(0), register(4), register(6)];

/** The key of `sources` and `sources6`: interface (16 bytes), MAC (6, padded to 8), address. */
const sender = (mac: Buffer, address: Buffer): readonly Buffer[] => [meta('iifname', r0), mac, address];
const frameSource = payload('link', 6, 6, r4);

/** Sets that count what a link's class or its own address has denied: one counting element per link. */
export const denialSets = ['denied_from', 'denied_to', 'denied_forged'] as const;

export const classSets = (seen: Seen): readonly NamedSet[] => [
  { name: 'egress', key: ['ifname'], data: 'verdict' },
  { name: 'ingress', key: ['ifname'], data: 'verdict' },
  { name: 'sources', key: ['ifname', 'ether_addr', 'ipv4_addr'] },
  ...(seen === 'arp' ? [] : [{ name: 'sources6', key: ['ifname', 'ether_addr', 'ipv6_addr'] } as const]),
  ...(seen === 'frames' ? [{ name: 'own4', key: ['ifname', 'ipv4_addr'] } as const] : []),
  ...(seen === 'arp' ? [] : [{ name: 'own6', key: ['ifname', 'ipv6_addr'] } as const]),
  ...denialSets.map((name): NamedSet => ({ name, key: ['ifname'], counted: true })),
];

export const classChains: readonly Chain[] = [
  'from_pod',
  'to_pod',
  'from_user',
  'closed_from',
  'closed_to',
  'counted_to',
  'forged',
].map((name) => ({
  name,
}));

/** The rules of a table's chains, in their order. */
export type Rules = readonly (readonly [chain: string, ...expressions: readonly Buffer[]])[];

const denied = (chain: string, link: 'iifname' | 'oifname', set: string): Rules => [
  [chain, meta(link, r0), inSet(set, r0), verdict('drop')],
  [chain, verdict('drop')],
];

/** `from_pod` and `to_pod` evaluate the traffic from and to a link. A link without an element is denied. */
export const classRules = (seen: Seen): Rules => [
  ['from_pod', meta('iifname', r0), verdictOf('egress', r0)],
  ['from_pod', counter(), verdict('drop')],
  ['to_pod', meta('oifname', r0), verdictOf('ingress', r0)],
  ['to_pod', counter(), verdict('drop')],
  ...(seen === 'packets'
    ? []
    : [fromUserByArp(seen === 'frames' ? [payload('link', 12, 2, r0), equals(r0, etherType.arp)] : [])]),
  ...(seen === 'arp' ? [] : fromUserByIp(seen)),
  // Spoofed, or neither IP nor ARP.
  ['from_user', verdict({ goto: 'forged' })],
  ...(seen === 'arp' ? [] : ofKernelFrom(seen)),
  // Traffic is dropped whether the pod has an element there or not; the first rule counts it per pod.
  ...denied('closed_from', 'iifname', 'denied_from'),
  ...(seen === 'arp' ? [] : groupsTo(seen)),
  ['closed_to', verdict({ goto: 'counted_to' })],
  ...denied('counted_to', 'oifname', 'denied_to'),
  ...denied('forged', 'iifname', 'denied_forged'),
];

/** Both the frame and the ARP payload must carry the pod's own addresses. */
const fromUserByArp = (isArp: readonly Buffer[]): Rules[number] => [
  'from_user',
  ...isArp,
  ...sender(frameSource, payload('network', 14, 4, r6)),
  inSet('sources', r0),
  ...sender(payload('network', 8, 6, r4), payload('network', 14, 4, r6)),
  inSet('sources', r0),
  verdict('accept'),
];

const family = (seen: 'frames' | 'packets', which: 'ip' | 'ip6'): readonly Buffer[] =>
  seen === 'frames'
    ? [payload('link', 12, 2, r0), equals(r0, etherType[which])]
    : [meta('nfproto', r0), equals(r0, nfproto[which])];

const ofIcmp6 = (seen: 'frames' | 'packets'): readonly Buffer[] => [
  ...family(seen, 'ip6'),
  meta('l4proto', r0),
  equals(r0, Buffer.of(ICMPV6)),
];

/**
 * On a new link the kernel reports its multicast groups and solicits routers before anything runs in the pod.
 * This traffic is dropped like the rest, but not counted.
 */
const ofKernelFrom = (seen: 'frames' | 'packets'): Rules =>
  OF_KERNELS.map((type) => [
    'closed_from',
    ...ofIcmp6(seen),
    payload('transport', 0, 1, r0),
    equals(r0, Buffer.of(type)),
    verdict('drop'),
  ]);

/** Matches requests for an address of the pod. ARP sends them to all, neighbour discovery to a group. */
const asksFor = (seen: 'frames' | 'packets'): Rules =>
  [
    ...(seen === 'frames'
      ? [
          [
            payload('link', 12, 2, r0),
            equals(r0, etherType.arp),
            meta('oifname', r0),
            payload('network', 24, 4, r4),
            inSet('own4', r0),
          ],
        ]
      : []),
    [
      ...ofIcmp6(seen),
      payload('transport', 0, 1, r0),
      equals(r0, Buffer.of(NEIGHBOUR_SOLICITATION)),
      meta('oifname', r0),
      payload('transport', 8, 16, r4),
      inSet('own6', r0),
    ],
  ].map((conditions): Rules[number] => ['closed_to', ...conditions, verdict({ goto: 'counted_to' })]);

const toGroup = (seen: 'frames' | 'packets'): readonly (readonly Buffer[])[] =>
  seen === 'frames'
    ? [[payload('link', 0, 1, r0), masked(r0, Buffer.of(1)), differs(r0, Buffer.of(0))]]
    : [
        [
          ...family(seen, 'ip'),
          payload('network', 16, 1, r0),
          masked(r0, Buffer.of(0xf0)),
          equals(r0, Buffer.of(0xe0)),
        ],
        [...family(seen, 'ip6'), payload('network', 24, 1, r0), equals(r0, Buffer.of(0xff))],
      ];

/**
 * Handles traffic that goes to every link, whether a program listens or not: requests for other addresses,
 * for routers and for duplicates, listener discovery, and names by multicast. It is dropped like the rest,
 * but not reported as a denial, because it was not addressed to this pod. Only a request for an address of
 * the pod counts as an attempt to reach it.
 */
const groupsTo = (seen: 'frames' | 'packets'): Rules => [
  ...asksFor(seen),
  ...toGroup(seen).map((conditions): Rules[number] => ['closed_to', ...conditions, verdict('drop')]),
];

function fromUserByIp(seen: 'frames' | 'packets'): Rules {
  const is = (which: 'ip' | 'ip6'): readonly Buffer[] => family(seen, which);
  const icmp6 = ofIcmp6(seen);
  return [
    // route_localnet is enabled for host ports on 127.0.0.1: a pod must not reach the host's loopback through
    // it (CVE-2020-8558).
    [
      'from_user',
      ...is('ip'),
      payload('network', 16, 1, r0),
      equals(r0, Buffer.of(127)),
      verdict({ goto: 'forged' }),
    ],
    // A pod that answers as a DHCP server would choose the router and the name servers of its neighbours, as
    // with a router advertisement.
    [
      'from_user',
      ...is('ip'),
      meta('l4proto', r0),
      equals(r0, Buffer.of(UDP)),
      payload('transport', 2, 2, r0),
      equals(r0, DHCP_CLIENT_PORT),
      verdict({ goto: 'forged' }),
    ],
    [
      'from_user',
      ...is('ip'),
      ...sender(frameSource, payload('network', 12, 4, r6)),
      inSet('sources', r0),
      verdict('accept'),
    ],
    ...[ROUTER_ADVERTISEMENT, REDIRECT].map((type): Rules[number] => [
      'from_user',
      ...icmp6,
      payload('transport', 0, 1, r0),
      equals(r0, Buffer.of(type)),
      verdict({ goto: 'forged' }),
    ]),
    // A neighbour advertisement for an address that is not the pod's.
    [
      'from_user',
      ...icmp6,
      payload('transport', 0, 1, r0),
      equals(r0, Buffer.of(NEIGHBOUR_ADVERTISEMENT)),
      ...sender(frameSource, payload('transport', 8, 16, r6)),
      notInSet('sources6', r0),
      verdict({ goto: 'forged' }),
    ],
    // Any other ICMPv6 packet shows its type, or is a later fragment. An advertisement that is hidden from
    // the rules above passes neither condition (RFC 7113).
    ...[
      [differs(r0, Buffer.of(ICMPV6))],
      [equals(r0, Buffer.of(ICMPV6)), payload('transport', 0, 1, r0)],
      [equals(r0, Buffer.of(ICMPV6)), fragmentOffset(r0), masked(r0, be16(0xfff8)), differs(r0, be16(0))],
    ].map((shown): Rules[number] => [
      'from_user',
      ...is('ip6'),
      meta('l4proto', r0),
      ...shown,
      ...sender(frameSource, payload('network', 8, 16, r6)),
      inSet('sources6', r0),
      verdict('accept'),
    ]),
  ];
}
