import { portUnreachable, resetTcp } from '../../netlink/balancing-expressions.ts';
import {
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
  sourceIsLocal,
  verdict,
} from '../../netlink/expressions.ts';
import { addChain, addElements, addRule, addSet, addTable, concatenated, deleteElements, deleteTable } from '../../netlink/nftables.ts';
import type { Chain, Element, NamedSet, Table } from '../../netlink/nftables.ts';
import type { Request } from '../../netlink/socket.ts';
import { be16, u32 } from '../../netlink/wire.ts';
import { loopbackIndex } from '../../netlink/links.ts';
import type { VirtualServer } from '../model.ts';
import { rangeElementsOf } from '../source-ranges/elements.ts';
import { deniedSet, rangeSetsOf, restrictedMap, serverOf, sourceRulesOf, sourcesChain } from '../source-ranges/rules.ts';
import {
  backendsSet,
  backendsSetOf,
  dropOfBackend,
  rememberBackend,
  toUnknownSegments,
  unknownSegmentsChain,
} from '../unknown-segments/rules.ts';
import { addressBytes, nodePortMark, nodePortMarks, protocolNumber } from './plan.ts';

/**
 * What nf_tables does beside IPVS, as values: marks what is sent to a node port, and has connections come back this way whose answers would not.
 * The rules never change; a virtual server is an element of sets and maps. Pure. IPVS rewrites between the hooks: it takes a packet at `input` or
 * `output`, and what it sends on passes `output` and `postrouting` (net/netfilter/ipvs/ip_vs_core.c).
 */
export type TableFamily = 'ip' | 'ip6';
export const tableFamilies = ['ip', 'ip6'] as const;
export const tableOf = (family: TableFamily): Table => ({ family, name: 'portcullis-ipvs' });

const [r0, r1] = [register(0), register(1)];
/** Bits of a mark that others set beside it, on its way out. */
const othersBits = 0xf0000000;
const markMask = u32((nodePortMarks.mask & ~othersBits) >>> 0);
const CT_NEW = 1 << 3;
const [TCP, UDP, SCTP] = [6, 17, 132];
/** IPVS takes what it serves at NF_IP_PRI_NAT_SRC - 1, and at `forward` translates answers at NF_IP_PRI_NAT_SRC. */
const afterIpvs = 110;
const isNodePort = [meta('mark', r0), masked(r0, markMask), equals(r0, u32(nodePortMarks.first))];

function definition(family: TableFamily): { sets: NamedSet[]; chains: Chain[]; rules: (readonly [string, ...Buffer[]])[] } {
  const address = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const number = family === 'ip' ? 4 : 6;
  const destination = (to: number): Buffer => (family === 'ip' ? payload('network', 16, 4, to) : payload('network', 24, 16, to));
  const firstSent = connection(family === 'ip' ? 'to4' : 'to6', 'original', r0);
  const after = (index: number): number => register(index + (family === 'ip' ? 1 : 4));
  // A node port is at no loopback address: the answer to one would have to come in by another link, and the kernel drops that.
  const loopback =
    family === 'ip' ? [payload('network', 16, 1, r0), differs(r0, Buffer.of(127))] : [destination(r0), differs(r0, addressBytes('::1'))];
  const mark = [
    // What another balancer has translated to an address of the host is no node port's any more.
    ...destinationAsSent(r0),
    ...loopback,
    destination(r0),
    notInSet('addresses', r0),
    ...destinationIsLocal(r0),
    meta('l4proto', r0),
    payload('transport', 2, 2, r1),
    mapped('node_ports', r0, r0),
    setMeta('mark', r0),
  ];
  const isNew = [connection('state', undefined, r0), masked(r0, u32(CT_NEW)), differs(r0, u32(0))];
  // Of a connection that nothing has answered yet: others go on, whoever may connect now.
  const restricted = [...isNew, ...serverOf(number), mapped(restrictedMap, r0, r0), verdict({ jump: sourcesChain })];
  return {
    sets: [
      ...rangeSetsOf(number),
      { name: 'addresses', key: [address] },
      { name: 'virtual', key: [address] },
      { name: 'of_host', key: [address] },
      { name: 'direct', key: [address, 'inet_proto', 'inet_service'] },
      { name: 'links', key: ['iface_index', 'iface_index'] },
      { name: 'node_ports', key: ['inet_proto', 'inet_service'], data: ['mark'] },
      { name: 'masqueraded', key: [address, 'inet_proto', 'inet_service'] },
      { name: 'masqueraded_node_ports', key: ['inet_proto', 'inet_service'] },
      backendsSetOf(number),
    ],
    chains: [
      { name: 'prerouting', hook: { type: 'filter', number: 0, priority: -150 } },
      { name: 'output', hook: { type: 'filter', number: 3, priority: -150 } },
      { name: 'input', hook: { type: 'filter', number: 1, priority: afterIpvs } },
      { name: 'forward', hook: { type: 'filter', number: 2, priority: afterIpvs } },
      { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } },
      { name: 'unmark', hook: { type: 'filter', number: 4, priority: 150 } },
      { name: 'unserved' },
      { name: 'balanced' },
      { name: sourcesChain },
      { name: unknownSegmentsChain },
    ],
    rules: [
      ['prerouting', ...restricted],
      ['output', ...restricted],
      ...sourceRulesOf(number).map((rule): readonly [string, ...Buffer[]] => [sourcesChain, ...rule]),
      ['prerouting', ...mark],
      ['output', ...mark],
      // The addresses are the host's now, and IPVS leaves to it what it does not serve: whatever listens at every address would be reached.
      ['input', ...isNew, destination(r0), inSet('virtual', r0), notInSet('of_host', r0), verdict({ goto: 'unserved' })],
      ...[TCP, UDP, SCTP].map((protocol): readonly [string, ...Buffer[]] => [
        'unserved',
        ...serverOf(number),
        notInSet('direct', r0),
        equals(after(0), Buffer.of(protocol)),
        protocol === TCP ? resetTcp() : portUnreachable(family),
      ]),
      // What IPVS knows it has translated by now, whatever connection tracking makes of it.
      ['forward', ...toUnknownSegments],
      ['input', ...toUnknownSegments],
      [unknownSegmentsChain, ...dropOfBackend(number)],
      ['postrouting', meta('oif', r0), equals(r0, u32(loopbackIndex)), verdict('return')],
      // Sent to a virtual address and now to another one. With direct return the destination stays, and so must the source.
      ['postrouting', firstSent, inSet('addresses', r0), destination(r0), notInSet('addresses', r0), verdict({ jump: 'balanced' })],
      [
        'postrouting',
        ...isNodePort,
        meta('l4proto', r0),
        connection('portTo', 'original', r1),
        inSet('masqueraded_node_ports', r0),
        masquerade(),
      ],
      ['postrouting', ...isNodePort, verdict({ jump: 'balanced' })],
      ['balanced', ...rememberBackend(number)],
      // Out by the link it came in by: the backend would answer the client, or itself, past this host.
      ['balanced', meta('iif', r0), meta('oif', r1), inSet('links', r0), masquerade()],
      // The host's own connections have the virtual address as their source.
      ['balanced', ...sourceIsLocal(r0), masquerade()],
      [
        'balanced',
        firstSent,
        meta('l4proto', after(0)),
        connection('portTo', 'original', after(1)),
        inSet('masqueraded', r0),
        masquerade(),
      ],
      // Nobody else is to read something into the mark; what a pod's rules have left in it is read later.
      ['unmark', ...isNodePort, meta('mark', r0), masked(r0, u32(othersBits)), setMeta('mark', r0)],
    ],
  };
}

/** Elements of one family, by set. */
export type Elements = ReadonlyMap<string, readonly Element[]>;

const protocolKey = (server: VirtualServer): Buffer[] => [Buffer.of(protocolNumber(server.protocol)), be16(server.port)];

/** Address, protocol and port, as keys of sets. */
export const serverKeyBytes = (server: VirtualServer & { readonly address: string }): Buffer =>
  concatenated(addressBytes(server.address), ...protocolKey(server));

/**
 * What one virtual server puts into the sets, but for its address, which it may share with others.
 * @param own the host's address of the server's family
 */
export function elementsOf(server: VirtualServer, own?: Uint8Array): (readonly [set: string, element: Element])[] {
  if (server.address === undefined) {
    const key = concatenated(...protocolKey(server));
    const masquerading: (readonly [string, Element])[] = server.sourceAddress === 'masquerade' ? [['masqueraded_node_ports', { key }]] : [];
    return [['node_ports', { key, value: u32(nodePortMark(server.protocol, server.port)) }], ...masquerading];
  }
  const key = serverKeyBytes({ ...server, address: server.address });
  return [
    ...rangeElementsOf(server, key, own),
    ...(server.sourceAddress === 'masquerade' ? [['masqueraded', { key }] as const] : []),
    // A backend that is the host itself gets it as it came.
    ...(server.forwarding === 'dsr' ? [['direct', { key }] as const] : []),
    ...(server.kind === 'virtual' ? [['virtual', { key: addressBytes(server.address) }] as const] : []),
  ];
}

/** Virtual addresses that the host has on a link of its own, too: their other ports are the host's. */
export const hostElements = (addresses: readonly Uint8Array[]): Element[] => addresses.map((key) => ({ key }));

/** Links whose packets go out where they came in. */
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
 * In place of whatever stands, in one transaction: the kernel's translation of connections is never without a chain, so none loses its own.
 * @param denied what restricted servers have counted until now, as `readDenied` gives it: they go on from there
 * @param backends those that are remembered, as `readBackends` gives them
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
    ...addTo(family, new Map([...elements].map(([set, entries]) => [set, set === deniedSet ? goingOn(entries, denied) : entries]))),
    ...addElements(table, backendsSet, backends),
  ];
}

const goingOn = (entries: readonly Element[], denied: ReadonlyMap<string, bigint>): Element[] =>
  entries.map(({ key }) => ({ key, packets: denied.get(Buffer.from(key).toString('hex')) ?? 0n }));

/** Success whether it stands or not. */
export const removeTable = (family: TableFamily): Request[] => [addTable(tableOf(family)), deleteTable(tableOf(family))];
