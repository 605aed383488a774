import {
  portUnreachable,
  resetTcp,
  connection,
  destinationAsSent,
  destinationIsLocal,
  differs,
  equals,
  inSet,
  mapped,
  masked,
  masquerade,
  meta,
  notInSet,
  payload,
  register,
  setMeta,
  verdict,
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  concatenated,
  deleteElements,
  deleteTable,
  be16,
  u32,
  loopbackIndex,
} from '../../../base/netlink/index.ts';
import type { Chain, Element, NamedSet, Table, Request } from '../../../base/netlink/index.ts';
import type { VirtualServer } from '../model/model.ts';
import { rangeElementsOf } from '../source-ranges/elements.ts';
import {
  deniedSet,
  rangeSetsOf,
  restrictedMap,
  serverOf,
  sourceRulesOf,
  sourcesChain,
} from '../source-ranges/rules.ts';
import { addMark, sharedMarks } from '../../constant-rules/packet-marks.ts';
import {
  backendsSet,
  backendsSetOf,
  dropOfBackend,
  isTcpWithoutSyn,
  toUnknownSegments,
  unknownSegmentsChain,
} from '../unknown-segments/rules.ts';
import { insideSourcesOfFamily, insideSourcesSet } from '../source-ranges/inside-sources.ts';
import { balancedRules, themselvesOf } from './balanced-rules.ts';
import { addressBytes, insideMarks, nodePortMark, nodePortMarks, protocolNumber } from './plan.ts';
import type { IpvsPlane } from './plan.ts';

/**
 * The nf_tables rules beside IPVS, as values. They mark packets to a node port, and masquerade connections
 * whose answers would not come back this way. The rules never change: a virtual server is an element of sets
 * and maps. Pure. IPVS rewrites between the hooks: it takes a packet at `input` or `output`, and the packet
 * that it sends on passes `output` and `postrouting` (net/netfilter/ipvs/ip_vs_core.c).
 */
export type TableFamily = 'ip' | 'ip6';
export const tableFamilies = ['ip', 'ip6'] as const;
export const tableOf = (family: TableFamily): Table => ({ family, name: 'portcullis-ipvs' });

const [r0, r1] = [register(0), register(1)];
/** Bits of a mark that other programs set beside ours when the packet leaves. */
const othersBits = 0xf0000000;
const markMask = u32((nodePortMarks.mask & ~othersBits) >>> 0);
const CT_NEW = 1 << 3;
const [TCP, UDP, SCTP] = [6, 17, 132];
/**
 * IPVS takes packets of its services at NF_IP_PRI_NAT_SRC - 1, and translates answers in `forward` at
 * NF_IP_PRI_NAT_SRC.
 */
const afterIpvs = 110;
const isNodePort = [meta('mark', r0), masked(r0, markMask), equals(r0, u32(nodePortMarks.first))];
const insideMask = u32((insideMarks.mask & ~othersBits) >>> 0);
const isInside = [meta('mark', r0), masked(r0, insideMask), equals(r0, u32(insideMarks.first))];

/** The marks of inside planes, at addresses and of node ports. */
export const insideSets = ['inside_servers', 'inside_node_ports'] as const;
const [insideServers, insideNodePorts] = insideSets;

const chains: Chain[] = [
  { name: 'prerouting', hook: { type: 'filter', number: 0, priority: -150 } },
  { name: 'output', hook: { type: 'filter', number: 3, priority: -150 } },
  { name: 'input', hook: { type: 'filter', number: 1, priority: afterIpvs } },
  { name: 'forward', hook: { type: 'filter', number: 2, priority: afterIpvs } },
  { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } },
  { name: 'unmark', hook: { type: 'filter', number: 4, priority: 150 } },
  { name: 'unserved' },
  { name: 'inside' },
  { name: 'lost' },
  { name: 'balanced' },
  { name: 'not_back' },
  { name: sourcesChain },
  { name: unknownSegmentsChain },
];

function setsOf(family: TableFamily): NamedSet[] {
  const address = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const number = family === 'ip' ? 4 : 6;
  return [
    ...rangeSetsOf(number),
    { name: 'addresses', key: [address] },
    { name: 'virtual', key: [address] },
    { name: 'hidden', key: [address] },
    { name: 'direct', key: [address, 'inet_proto', 'inet_service'] },
    { name: 'links', key: ['iface_index', 'iface_index'] },
    { name: 'node_ports', key: ['inet_proto', 'inet_service'], data: ['mark'] },
    { name: 'masqueraded', key: [address, 'inet_proto', 'inet_service'] },
    { name: 'masqueraded_node_ports', key: ['inet_proto', 'inet_service'] },
    insideSourcesOfFamily(number),
    { name: insideServers, key: [address, 'inet_proto', 'inet_service'], data: ['mark'] },
    { name: insideNodePorts, key: ['inet_proto', 'inet_service'], data: ['mark'] },
    { name: 'dropped', key: [address, 'inet_proto', 'inet_service'] },
    { name: 'dropped_node_ports', key: ['inet_proto', 'inet_service'] },
    backendsSetOf(number),
    themselvesOf(address),
  ];
}

/** Returns the rules that mark packets to node ports and to inside planes, and that drop. */
function markingRules(
  family: TableFamily,
  toNodePort: readonly Buffer[],
  isNew: readonly Buffer[],
): (readonly [string, ...Buffer[]])[] {
  const number = family === 'ip' ? 4 : 6;
  return [
    // Connections from inside the node have destinations of their own: see `../model/planes.ts`.
    [
      'prerouting',
      payload('network', family === 'ip' ? 12 : 8, family === 'ip' ? 4 : 16, r0),
      inSet(insideSourcesSet, r0),
      verdict({ jump: 'inside' }),
    ],
    ['output', verdict({ jump: 'inside' })],
    ['inside', ...serverOf(number), mapped(insideServers, r0, r0), setMeta('mark', r0), verdict('accept')],
    ['inside', ...toNodePort, mapped(insideNodePorts, r0, r0), setMeta('mark', r0), verdict('accept')],
    ...['prerouting', 'output'].flatMap((chain): (readonly [string, ...Buffer[]])[] => [
      [chain, ...isNew, ...serverOf(number), inSet('dropped', r0), verdict({ jump: 'lost' })],
      [chain, ...isNew, ...toNodePort, inSet('dropped_node_ports', r0), verdict({ jump: 'lost' })],
      [chain, ...toNodePort, mapped('node_ports', r0, r0), setMeta('mark', r0), verdict('accept')],
    ]),
    // The host refuses a later segment of a connection that has lost its destination.
    ['lost', ...isTcpWithoutSyn, verdict('return')],
    ['lost', verdict('drop')],
  ];
}

function definition(family: TableFamily): {
  sets: NamedSet[];
  chains: Chain[];
  rules: (readonly [string, ...Buffer[]])[];
} {
  const number = family === 'ip' ? 4 : 6;
  const destination = (to: number): Buffer =>
    family === 'ip' ? payload('network', 16, 4, to) : payload('network', 24, 16, to);
  const firstSent = connection(family === 'ip' ? 'to4' : 'to6', 'original', r0);
  const after = (index: number): number => register(index + (family === 'ip' ? 1 : 4));
  // A node port is not served at loopback addresses: the answer would have to arrive on another link, and the
  // kernel drops such a packet.
  const loopback =
    family === 'ip'
      ? [payload('network', 16, 1, r0), differs(r0, Buffer.of(127))]
      : [destination(r0), differs(r0, addressBytes('::1'))];
  const toNodePort = [
    // A packet that another balancer translated to an address of the host is not for a node port.
    ...destinationAsSent(r0),
    ...loopback,
    destination(r0),
    notInSet('hidden', r0),
    ...destinationIsLocal(r0),
    meta('l4proto', r0),
    payload('transport', 2, 2, r1),
  ];
  const isNew = [connection('state', undefined, r0), masked(r0, u32(CT_NEW)), differs(r0, u32(0))];
  // Only for a connection without any answer yet: an established one goes on, whichever clients may connect
  // now.
  const restricted = [
    ...isNew,
    ...serverOf(number),
    mapped(restrictedMap, r0, r0),
    verdict({ jump: sourcesChain }),
  ];
  return {
    sets: setsOf(family),
    chains,
    rules: [
      ['prerouting', ...restricted],
      ['output', ...restricted],
      ...sourceRulesOf(number).map((rule): readonly [string, ...Buffer[]] => [sourcesChain, ...rule]),
      ...markingRules(family, toNodePort, isNew),
      // The bridge adds its mark to a packet that has this mark already. Packets to node ports and inside
      // planes are without it: IPVS compares the whole mark with theirs.
      ['prerouting', ...isNew, destination(r0), inSet('addresses', r0), ...addMark(r0, sharedMarks.chosen)],
      // The addresses are the host's own now, and IPVS leaves packets that it does not serve to the host:
      // they would reach any program that listens at all addresses.
      [
        'input',
        ...isNew,
        destination(r0),
        inSet('virtual', r0),
        inSet('hidden', r0),
        verdict({ goto: 'unserved' }),
      ],
      ...[TCP, UDP, SCTP].map((protocol): readonly [string, ...Buffer[]] => [
        'unserved',
        ...serverOf(number),
        notInSet('direct', r0),
        equals(after(0), Buffer.of(protocol)),
        protocol === TCP ? resetTcp() : portUnreachable(family),
      ]),
      // By now IPVS has translated everything that it knows, whatever state connection tracking assigns.
      ['forward', ...toUnknownSegments],
      ['input', ...toUnknownSegments],
      [unknownSegmentsChain, ...dropOfBackend(number)],
      ['postrouting', meta('oif', r0), equals(r0, u32(loopbackIndex)), verdict('return')],
      // The packet was sent to a virtual address and now has another destination. With direct server return
      // the destination stays, and the source has to stay, too.
      [
        'postrouting',
        firstSent,
        inSet('addresses', r0),
        destination(r0),
        notInSet('addresses', r0),
        verdict({ jump: 'balanced' }),
      ],
      [
        'postrouting',
        ...isNodePort,
        meta('l4proto', r0),
        connection('portTo', 'original', r1),
        inSet('masqueraded_node_ports', r0),
        masquerade(),
      ],
      ['postrouting', ...isNodePort, verdict({ jump: 'balanced' })],
      ['postrouting', ...isInside, verdict({ jump: 'balanced' })],
      ...balancedRules(family),
      // No other program must interpret the mark. Bits that a pod's rules have set are read later.
      ...[isNodePort, isInside].map((ours): readonly [string, ...Buffer[]] => [
        'unmark',
        ...ours,
        meta('mark', r0),
        masked(r0, u32(othersBits)),
        setMeta('mark', r0),
      ]),
    ],
  };
}

/** Elements of one family, by set. */
export type Elements = ReadonlyMap<string, readonly Element[]>;

const protocolKey = (server: VirtualServer): Buffer[] => [
  Buffer.of(protocolNumber(server.protocol)),
  be16(server.port),
];

/** Returns address, protocol and port, as keys of sets. */
export const serverKeyBytes = (server: VirtualServer & { readonly address: string }): Buffer =>
  concatenated(addressBytes(server.address), ...protocolKey(server));

/** Returns the key of the inside plane of a server: see {@link insideSets}. */
export const insideKeyBytes = (server: VirtualServer): Buffer =>
  server.address === undefined
    ? concatenated(...protocolKey(server))
    : serverKeyBytes({ ...server, address: server.address });

/**
 * Returns the set elements of one virtual server, without its address, which other servers may share.
 * @param own the host's address of the server's family
 */
export function elementsOf(
  server: IpvsPlane,
  own?: Uint8Array,
): (readonly [set: string, element: Element])[] {
  const dropping = server.drops === true && server.destinations.every(({ weight }) => weight === 0);
  if (server.address === undefined) {
    const key = concatenated(...protocolKey(server));
    if (server.mark !== undefined) return [[insideNodePorts, { key, value: u32(server.mark) }]];
    const dropped: (readonly [string, Element])[] = dropping ? [['dropped_node_ports', { key }]] : [];
    const masquerading: (readonly [string, Element])[] =
      server.sourceAddress === 'masquerade' ? [['masqueraded_node_ports', { key }]] : [];
    return [
      ['node_ports', { key, value: u32(nodePortMark(server.protocol, server.port)) }],
      ...masquerading,
      ...dropped,
    ];
  }
  const key = serverKeyBytes({ ...server, address: server.address });
  if (server.mark !== undefined) return [[insideServers, { key, value: u32(server.mark) }]];
  return [
    ...(dropping ? [['dropped', { key }] as const] : []),
    ...rangeElementsOf(server, key, own),
    ...(server.sourceAddress === 'masquerade' ? [['masqueraded', { key }] as const] : []),
    // A backend that is the host itself gets the packet unchanged.
    ...(server.forwarding === 'dsr' ? [['direct', { key }] as const] : []),
    ...(server.kind === 'virtual' ? [['virtual', { key: addressBytes(server.address) }] as const] : []),
  ];
}

/**
 * Addresses of servers that the host has on no other link: the host itself is hidden there, with its programs
 * and node ports.
 */
export const hiddenElements = (addresses: readonly Uint8Array[]): Element[] =>
  addresses.map((key) => ({ key }));

/** Links, as pairs of the same link, for packets that leave where they came in. */
export const linkElements = (indexes: readonly number[]): Element[] =>
  indexes.map((index) => ({ key: concatenated(u32(index), u32(index)) }));

export function addTo(family: TableFamily, elements: Elements): Request[] {
  return [...elements].flatMap(([set, entries]) => addElements(tableOf(family), set, entries));
}

export function takeFrom(family: TableFamily, elements: Elements): Request[] {
  return [...elements].flatMap(([set, entries]) =>
    deleteElements(
      tableOf(family),
      set,
      entries.map(({ key }) => ({ key })),
    ),
  );
}

/**
 * Replaces any existing table in one transaction. The kernel's connection translation is never without a
 * chain, so no connection loses its translation.
 * @param denied the counts of restricted servers so far, as `readDenied` returns them; counting continues
 * from them
 * @param backends the remembered backends, as `readBackends` returns them
 */
export function rebuild(
  family: TableFamily,
  elements: Elements,
  denied: ReadonlyMap<string, bigint> = new Map(),
  backends: readonly Element[] = [],
): Request[] {
  const table = tableOf(family);
  const { sets, chains, rules } = definition(family);
  return [
    ...removeTable(family),
    addTable(table),
    ...chains.map((chain) => addChain(table, chain)),
    ...sets.map((set, index) => addSet(table, set, index + 1)),
    ...rules.map(([chain, ...expressions]) => addRule(table, chain, expressions)),
    ...addTo(
      family,
      new Map(
        [...elements].map(([set, entries]) => [set, set === deniedSet ? goingOn(entries, denied) : entries]),
      ),
    ),
    ...addElements(table, backendsSet, backends),
  ];
}

const goingOn = (entries: readonly Element[], denied: ReadonlyMap<string, bigint>): Element[] =>
  entries.map(({ key }) => ({ key, packets: denied.get(Buffer.from(key).toString('hex')) ?? 0n }));

/** Succeeds whether or not the table exists. */
export const removeTable = (family: TableFamily): Request[] => [
  addTable(tableOf(family)),
  deleteTable(tableOf(family)),
];
