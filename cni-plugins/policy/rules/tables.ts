import {
  be16,
  connection,
  constant,
  counter,
  destinationIsLocal,
  differs,
  equals,
  inSet,
  mapped,
  masked,
  meta,
  payload,
  register,
  setFrameDestination,
  setMeta,
  sourceIsForeign,
  sourceIsLocal,
  u32,
  verdict,
  verdictOf,
  within,
} from '../../../base/netlink/index.ts';
import type { Chain, NamedSet, Table } from '../../../base/netlink/index.ts';

/**
 * The constant part of the tables that enforce peer rules; docs/decisions/0032. Pure.
 *
 * A packet is judged by its connection: initiator, responder, protocol and the responder's port. Every packet
 * is judged, so a withdrawn grant ends connections at once, and an answer never becomes more than an answer.
 * Only the host's IP layer knows connections, so traffic from and to a pod with rules is sent through it: the
 * frame's destination is set to the bridge itself. A packet that reaches such a pod in another way lacks the
 * mark that the judgement sets, and is dropped on the pod's link.
 */
export const frameTable: Table = { family: 'bridge', name: 'portcullis_rules' };
export const judgeTable: Table = { family: 'inet', name: 'portcullis_rules' };
export const policyTables: readonly Table[] = [frameTable, judgeTable];

export interface PolicyDefinition {
  readonly table: Table;
  readonly sets: readonly NamedSet[];
  readonly chains: readonly Chain[];
  readonly rules: readonly PolicyRule[];
}

export interface PolicyRule {
  readonly chain: string;
  readonly expressions: readonly Buffer[];
  readonly comment?: string;
}

/**
 * A bit of the packet's mark, set by the judgement until the packet leaves the host. It does not cross into
 * the pod's namespace.
 */
const judgedMark = 0x10000000;
const [r0, r1] = [register(0), register(1)];
const r4 = register(4);
const etherType = { ip: be16(0x0800), arp: be16(0x0806), ip6: be16(0x86dd) };
const PACKET_HOST = 0;
const nfproto = { 4: Buffer.of(2), 6: Buffer.of(10) };
const CT_UNTRACKED = 1 << 6;
const CT_INVALID_OR_UNTRACKED = 1 | CT_UNTRACKED;
const CT_RELATED = 1 << 2;
const ICMPV6 = 58;
const neighbourTypes = [Buffer.of(135), Buffer.of(136)] as const;
/** One address and one option (RFC 4861, sections 4.3 and 4.4): no room for other data. */
const neighbourBytes = 32;

const is = (type: Buffer): Buffer[] => [payload('link', 12, 2, r0), equals(r0, type)];

/**
 * Matches neighbour solicitation and advertisement, without which no IPv6 address is resolved. Connection
 * tracking does not know them.
 */
const neighbourDiscovery: readonly Buffer[] = [
  payload('network', 6, 1, r0),
  equals(r0, Buffer.of(ICMPV6)),
  payload('network', 7, 1, r0),
  equals(r0, Buffer.of(255)),
  payload('network', 4, 2, r0),
  ...within(r0, be16(0), be16(neighbourBytes)),
  payload('transport', 0, 1, r0),
  ...within(r0, ...neighbourTypes),
];

/** Matches ARP requests and replies of 28 bytes, padded to at most 46: no room for other data behind them. */
const arpAlone: readonly Buffer[] = [
  ...is(etherType.arp),
  meta('length', r0),
  masked(r0, u32(~0x3f)),
  equals(r0, u32(0)),
];

const judged: readonly Buffer[] = [meta('mark', r0), masked(r0, u32(judgedMark)), differs(r0, u32(0))];
/** Matches frames to one link, not to a group. */
const toOne: readonly Buffer[] = [
  payload('link', 0, 1, r0),
  masked(r0, Buffer.of(1)),
  equals(r0, Buffer.of(0)),
];

const address = {
  4: {
    source: (to: number) => payload('network', 12, 4, to),
    destination: (to: number) => payload('network', 16, 4, to),
  },
  6: {
    source: (to: number) => payload('network', 8, 16, to),
    destination: (to: number) => payload('network', 24, 16, to),
  },
} as const;

const families = [4, 6] as const;
const bothFamilies = (rule: (family: 4 | 6) => PolicyRule | readonly PolicyRule[]): PolicyRule[] =>
  families.flatMap((family) => rule(family));

/** Redirects through the host: to the MAC of the bridge that the link is a port of. */
const throughHost: readonly Buffer[] = [
  constant(Buffer.of(PACKET_HOST, 0, 0, 0), r0),
  setMeta('pkttype', r0),
  meta('iifname', r0),
  mapped('ways', r0, r4),
  setFrameDestination(r4),
  verdict('accept'),
];

export const frameDefinition: PolicyDefinition = {
  table: frameTable,
  sets: [
    { name: 'ways', key: ['ifname'], data: ['ether_addr'] },
    { name: 'ruled4', key: ['ipv4_addr'] },
    { name: 'ruled6', key: ['ipv6_addr'] },
    { name: 'ruled_senders', key: ['ifname'] },
    { name: 'ruled_receivers', key: ['ifname'] },
  ],
  chains: [
    // After `table bridge portcullis` has dropped forged senders; before bridge-netfilter (0).
    { name: 'prerouting', hook: { type: 'filter', number: 0, priority: -250 } },
    // After bridge-netfilter's own judgement (-1).
    { name: 'forward', hook: { type: 'filter', number: 2, priority: 10 } },
    // After the class's verdict, so that no packet meets an open class without rules.
    { name: 'postrouting', hook: { type: 'filter', number: 4, priority: 10 } },
    { name: 'from_ruled' },
    { name: 'to_ruled' },
  ],
  rules: [
    { chain: 'prerouting', expressions: [...is(etherType.ip6), ...neighbourDiscovery, verdict('accept')] },
    ...bothFamilies((family) =>
      (['destination', 'source'] as const).map((end) => ({
        chain: 'prerouting',
        expressions: [
          ...is(family === 4 ? etherType.ip : etherType.ip6),
          address[family][end](r0),
          inSet(`ruled${family}`, r0),
          // Group frames stay group frames: the bridge also passes them to the host, and from_ruled drops the
          // rest.
          ...toOne,
          ...throughHost,
        ],
      })),
    ),
    {
      chain: 'forward',
      expressions: [meta('iifname', r0), inSet('ruled_senders', r0), verdict({ goto: 'from_ruled' })],
    },
    {
      chain: 'postrouting',
      expressions: [meta('oifname', r0), inSet('ruled_receivers', r0), verdict({ goto: 'to_ruled' })],
    },
    ...['from_ruled', 'to_ruled'].flatMap((chain): PolicyRule[] => [
      { chain, expressions: [...arpAlone, verdict('accept')] },
      { chain, expressions: [...is(etherType.ip6), ...neighbourDiscovery, verdict('accept')] },
      // One receiver only: flooded frames reach pods that the judgement was not about.
      { chain, expressions: [...toOne, ...judged, verdict('accept')] },
      { chain, expressions: [counter(), verdict('drop')], comment: 'multicast, broadcast or not judged' },
    ]),
  ],
};

/** Matches multicast, with several receivers or any listener: RFC 5771, RFC 4291 section 2.7. */
const isGroup: Readonly<Record<4 | 6, readonly Buffer[]>> = {
  4: [payload('network', 16, 1, r0), masked(r0, Buffer.of(0xf0)), equals(r0, Buffer.of(0xe0))],
  6: [payload('network', 24, 1, r0), equals(r0, Buffer.of(0xff))],
};

/** Looks up the pod of one end of the connection. @param chains map of addresses to chains */
const end = (family: 4 | 6, direction: 'original' | 'reply', map: string): PolicyRule['expressions'] => [
  connection(family === 4 ? 'from4' : 'from6', direction, r0),
  verdictOf(map, r0),
];

const stateHas = (bits: number): Buffer[] => [
  connection('state', undefined, r0),
  masked(r0, u32(bits)),
  differs(r0, u32(0)),
];

const family = (which: 4 | 6): Buffer[] => [meta('nfproto', r0), equals(r0, nfproto[which])];

const judgement = (chain: string, maps: 'all' | 'host'): PolicyRule[] => [
  { chain, expressions: [...family(6), ...neighbourDiscovery, verdict('return')] },
  // The mark comes first. A pod that is found in this set has its rules below too: both came in the same
  // transaction.
  ...bothFamilies((which) =>
    (['destination', 'source'] as const).map((side) => ({
      chain,
      expressions: [
        ...family(which),
        address[which][side](r0),
        inSet(`ruled${which}`, r0),
        meta('mark', r0),
        masked(r0, u32(~judgedMark), r0, u32(judgedMark)),
        setMeta('mark', r0),
      ],
    })),
  ),
  ...(maps === 'host'
    ? [{ chain, expressions: [...stateHas(CT_UNTRACKED), verdict({ jump: 'untracked' })] }]
    : []),
  { chain, expressions: [...stateHas(CT_INVALID_OR_UNTRACKED), verdict({ goto: 'no_connection' })] },
  { chain, expressions: [...stateHas(CT_RELATED), verdict({ jump: 'errors' })] },
  ...bothFamilies((which) => [
    { chain, expressions: end(which, 'original', `${maps === 'host' ? 'host_' : ''}egress${which}`) },
    { chain, expressions: end(which, 'reply', `${maps === 'host' ? 'host_' : ''}ingress${which}`) },
  ]),
];

/**
 * Traffic between a pod and its node that connection tracking does not follow (NodeLocal DNSCache).
 * NetworkPolicies do not restrict it, tracked or not. Packets from the node pass, because they may be
 * answers. The rules of the pod's profiles must grant each packet that the pod sends.
 */
const untracked: readonly PolicyRule[] = [
  ...bothFamilies((which) => ({
    chain: 'untracked',
    expressions: [
      ...family(which),
      address[which].destination(r0),
      inSet(`ruled${which}`, r0),
      ...sourceIsLocal(r0),
      verdict('accept'),
    ],
  })),
  ...bothFamilies((which) => [
    {
      chain: 'untracked',
      expressions: [...family(which), address[which].source(r0), verdictOf(`untracked${which}`, r0)],
    },
    {
      chain: 'untracked',
      expressions: [
        ...family(which),
        address[which].source(r0),
        inSet(`ruled${which}`, r0),
        ...destinationIsLocal(r0),
        verdict('accept'),
      ],
    },
  ]),
];

const selfOf = (which: 4 | 6, direction: 'original' | 'reply'): Buffer[] => [
  ...family(which),
  address[which].source(register(0)),
  connection(which === 4 ? 'from4' : 'from6', direction, register(which === 4 ? 1 : 4)),
  inSet(`self${which}`, r0),
];

export const judgeDefinition: PolicyDefinition = {
  table: judgeTable,
  sets: [
    { name: 'ruled_receivers', key: ['ifname'] },
    ...families.flatMap((which): NamedSet[] => {
      const type = which === 4 ? 'ipv4_addr' : 'ipv6_addr';
      return [
        { name: `ruled${which}`, key: [type] },
        { name: `self${which}`, key: [type, type] },
        ...['egress', 'ingress', 'host_egress', 'host_ingress', 'untracked'].map((name): NamedSet => ({
          name: `${name}${which}`,
          key: [type],
          data: 'verdict',
        })),
      ];
    }),
  ],
  chains: [
    // After the translation of destinations (-100): a rule is about the address that is really reached.
    { name: 'forward', hook: { type: 'filter', number: 2, priority: 0 } },
    // After IPVS (NF_IP_PRI_NAT_SRC - 1): what it sends on comes by `output`, with the backend's address.
    { name: 'input', hook: { type: 'filter', number: 1, priority: 105 } },
    { name: 'output', hook: { type: 'filter', number: 3, priority: 0 } },
    // For links that the host routes to. Bridges have this in the table of frames.
    { name: 'postrouting', hook: { type: 'filter', number: 4, priority: 0 } },
    { name: 'to_ruled' },
    { name: 'judge' },
    { name: 'judge_with_host' },
    { name: 'untracked' },
    { name: 'no_connection' },
    { name: 'errors' },
  ],
  rules: [
    { chain: 'forward', expressions: [verdict({ jump: 'judge' })] },
    { chain: 'input', expressions: [verdict({ jump: 'judge_with_host' })] },
    // Packets with a foreign source on their way to the responder: IPVS forwards them, so they get no more of
    // the host's rights than where packets are forwarded.
    {
      chain: 'output',
      expressions: [
        connection('direction', undefined, r0),
        equals(r0, Buffer.of(0)),
        ...sourceIsForeign(r0),
        verdict({ goto: 'judge' }),
      ],
    },
    { chain: 'output', expressions: [verdict({ jump: 'judge_with_host' })] },
    {
      chain: 'postrouting',
      expressions: [meta('oifname', r0), inSet('ruled_receivers', r0), verdict({ goto: 'to_ruled' })],
    },
    { chain: 'to_ruled', expressions: [...family(6), ...neighbourDiscovery, verdict('accept')] },
    ...bothFamilies((which) => ({
      chain: 'to_ruled',
      expressions: [...family(which), ...isGroup[which], counter(), verdict('drop')],
      comment: 'multicast',
    })),
    { chain: 'to_ruled', expressions: [...judged, verdict('accept')] },
    { chain: 'to_ruled', expressions: [counter(), verdict('drop')], comment: 'not judged' },
    ...judgement('judge', 'all'),
    ...judgement('judge_with_host', 'host'),
    ...untracked,
    ...bothFamilies((which) =>
      (['destination', 'source'] as const).map((side) => ({
        chain: 'no_connection',
        expressions: [
          ...family(which),
          address[which][side](r1),
          inSet(`ruled${which}`, r1),
          counter(),
          verdict('drop'),
        ],
        comment: 'belongs to no connection',
      })),
    ),
    // An ICMP error belongs to the connection it is about: a pod may send it only about its own.
    ...bothFamilies((which) => [
      { chain: 'errors', expressions: [...selfOf(which, 'original'), verdict('return')] },
      { chain: 'errors', expressions: [...selfOf(which, 'reply'), verdict('return')] },
      {
        chain: 'errors',
        expressions: [
          ...family(which),
          address[which].source(r1),
          inSet(`ruled${which}`, r1),
          counter(),
          verdict('drop'),
        ],
        comment: 'an ICMP error about a connection of others',
      },
    ]),
  ],
};
