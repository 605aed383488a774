import {
  bitsOf,
  contains,
  ipBytes,
  lastOf,
  networkOf,
  parseIp,
  parsePrefix,
} from '../../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../../base/addresses/index.ts';
import type { LinkClass, PortMapping } from '../../types.ts';
import {
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  concatenated,
  deleteElements,
  interfaceKey,
  be16,
} from '../../../base/netlink/index.ts';
import type { StalePort, Family, Table, Verdict, Request } from '../../../base/netlink/index.ts';
import { copyNames, deleteTables, elementRequests, replaceTables } from '../../table-copies/table-copies.ts';
import type { Elements, Replacement } from '../../table-copies/table-copies.ts';
import { denialSets } from './class-rules.ts';
import { heldLinks, macBytes, mayBeRouted } from '../../database/record.ts';
import type { AttachmentRecord, HeldLink } from '../../database/record.ts';
import { arpTable, bridgeTable, definitions, ip6Table, ipTable, routedTables, tables } from './rules.ts';

/**
 * Computes the elements of the sets and maps of rules.ts from the records, and the requests that write them.
 * Pure.
 */

/** The subnets of pods, and whether what the pods send to others leaves with the host's address. */
export type PodSubnets = Pick<AttachmentRecord['spec'], 'subnets' | 'masquerade'>;

const open: readonly LinkClass[] = ['user', 'proxy', 'admin'];

function classElements(links: readonly HeldLink[], linkClass: LinkClass): Elements {
  const isOpen = open.includes(linkClass);
  const egress: Verdict = { goto: isOpen ? 'from_user' : 'closed_from' };
  const ingress: Verdict = isOpen ? 'accept' : { goto: 'closed_to' };
  return links.flatMap((link) => {
    const key = interfaceKey(link.hostInterface);
    return classTables(link).flatMap((table): Elements => [
      [table, 'egress', { key, value: egress }],
      [table, 'ingress', { key, value: ingress }],
    ]);
  });
}

/** Returns the tables that see the traffic of a link. */
export const classTables = ({ bridge }: HeldLink): readonly Table[] =>
  bridge === undefined ? routedTables : [bridgeTable];

export const protocolNumbers: Readonly<Record<PortMapping['protocol'], number>> = {
  tcp: 6,
  udp: 17,
  sctp: 132,
};

/**
 * Returns the link-local address that the pod's interface has in addition to an IPv6 address: EUI-64 of its
 * MAC (RFC 4291, appendix A).
 */
export function linkLocalOf(mac: string): Buffer {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macBytes(mac);
  return Buffer.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f);
}

const podElements = ({ spec }: AttachmentRecord): Elements =>
  heldLinks(spec).flatMap((link) => [...linkElements(link), ...senderElements(link)]);

/** Returns the elements of the host ports that lead to the pod. */
function hostPortElements({ spec }: Pick<AttachmentRecord, 'spec'>): Elements {
  const addresses = spec.addresses.flatMap(({ ip }) => parseIp(ip) ?? []);
  return addresses.flatMap((address) =>
    spec.portMappings.flatMap((mapping) =>
      portElements(mapping, address.family, ipBytes(address), spec.snat),
    ),
  );
}

/**
 * Returns the host ports of a class: none while the link is closed. Whether a pod may have host ports is
 * decided with its containers, and a pod whose containers are all refused must not take connections from
 * another holder of the port. Links to which our rules do not apply have no class.
 */
const openPorts = (record: AttachmentRecord, linkClass: LinkClass): Elements =>
  open.includes(linkClass) || heldLinks(record.spec).length === 0 ? hostPortElements(record) : [];

/** Returns the source addresses that the link may use, and the counters for denied traffic. */
function linkElements(link: HeldLink): Elements {
  const name = interfaceKey(link.hostInterface);
  const mac = macBytes(link.mac);
  const addresses = link.addresses.flatMap(({ ip }) => parseIp(ip) ?? []);
  const four = addresses.filter(({ family }) => family === 4).map(ipBytes);
  const six = addresses.filter(({ family }) => family === 6).map(ipBytes);
  const own6 = six.length === 0 ? [] : [...six, linkLocalOf(link.mac)];
  return classTables(link).flatMap((table): Elements => [
    ...four.map((address): Elements[number] => [table, 'sources', { key: concatenated(name, mac, address) }]),
    ...(table === arpTable ? [] : own6).map((address): Elements[number] => [
      table,
      'sources6',
      { key: concatenated(name, mac, address) },
    ]),
    ...(table === bridgeTable ? four : []).map((address): Elements[number] => [
      table,
      'own4',
      { key: concatenated(name, address) },
    ]),
    ...(table === arpTable ? [] : own6).map((address): Elements[number] => [
      table,
      'own6',
      { key: concatenated(name, address) },
    ]),
    ...denialSets.map((set): Elements[number] => [table, set, { key: name }]),
  ]);
}

/**
 * Returns the links of the host through which the link's addresses may come. A bridge without an address is
 * left out: the host does not route to its addresses, which are unique only on their own network.
 */
function senderElements({ hostInterface, mac, bridge, addresses }: HeldLink): Elements {
  if (bridge?.addresses.length === 0) return [];
  const link = interfaceKey(bridge?.name ?? hostInterface);
  const macs = bridge === undefined ? [] : [mac, bridge.mac];
  const own = macs.map((each): Elements[number] => [bridgeTable, 'own_macs', { key: macBytes(each) }]);
  const held = addresses
    .flatMap(({ ip }) => parseIp(ip) ?? [])
    .flatMap((address): Elements => {
      const [table, key] = [address.family === 4 ? ipTable : ip6Table, ipBytes(address)];
      return [
        [table, 'held', { key }],
        [table, 'held_links', { key: concatenated(key, link) }],
        ...(bridge === undefined
          ? []
          : [[bridgeTable, `pods${address.family}`, { key }] satisfies Elements[number]]),
      ];
    });
  return [...own, ...held];
}

function portElements(mapping: PortMapping, family: IpFamily, pod: Buffer, snat: boolean): Elements {
  const hostIp = mapping.hostIp === undefined || mapping.hostIp === '' ? undefined : parseIp(mapping.hostIp);
  if (hostIp !== undefined && hostIp.family !== family) return [];
  const table = family === 4 ? ipTable : ip6Table;
  const protocol = Buffer.of(protocolNumbers[mapping.protocol]);
  const hostPort = be16(mapping.hostPort);
  const podPort = be16(mapping.containerPort);
  const value = concatenated(pod, podPort);
  return [
    hostIp === undefined || hostIp.value === 0n
      ? [table, 'any_host_ports', { key: concatenated(protocol, hostPort), value }]
      : [table, 'host_ports', { key: concatenated(ipBytes(hostIp), protocol, hostPort), value }],
    ...(snat
      ? [
          [
            table,
            'forwarded',
            { key: concatenated(protocol, hostPort, pod, podPort) },
          ] satisfies Elements[number],
        ]
      : []),
  ];
}

const loopback: IpPrefix = { address: { family: 4, value: 127n << 24n }, length: 8 };

function subnetElements(networks: readonly PodSubnets[]): Elements {
  const prefixes = (chosen: readonly PodSubnets[]): IpPrefix[] =>
    chosen.flatMap(({ subnets }) => subnets.flatMap((subnet) => parsePrefix(subnet) ?? []));
  const all = prefixes(networks);
  return [
    ...intervals('pods', all),
    ...intervals('masquerade', prefixes(networks.filter(({ masquerade }) => masquerade))),
    ...intervals('hairpin', [...all, loopback]),
  ];
}

/** Leaves out prefixes that lie within another one, because an interval set refuses overlap. */
function intervals(set: string, prefixes: readonly IpPrefix[]): Elements {
  const distinct = [
    ...new Map(
      prefixes.map((prefix) => [
        `${networkOf(prefix).value}/${prefix.length}/${prefix.address.family}`,
        prefix,
      ]),
    ).values(),
  ];
  const outermost = distinct.filter(
    (prefix) =>
      !distinct.some(
        (other) => other !== prefix && contains(other, networkOf(prefix)) && other.length <= prefix.length,
      ),
  );
  return outermost.flatMap((prefix): Elements => {
    const { family } = prefix.address;
    const table = family === 4 ? ipTable : ip6Table;
    const value = lastOf(prefix).value + 1n;
    // There is no address after the very last one, so the interval stays open.
    const isOpen = value >> BigInt(bitsOf(family)) !== 0n;
    return [
      [table, set, { key: ipBytes(networkOf(prefix)) }],
      ...(isOpen
        ? []
        : [[table, set, { key: ipBytes({ family, value }), end: true }] satisfies Elements[number]]),
    ];
  });
}

function familiesOf(records: readonly AttachmentRecord[]): readonly Family[] {
  const six = needsSix(records);
  return [
    'bridge',
    'ip',
    ...(six ? (['ip6'] as const) : []),
    ...(needsRouted(records) ? (['inet', 'arp'] as const) : []),
  ];
}

const adding = (elements: Elements): Request[] => elementRequests(addElements, elements);
const deleting = (elements: Elements): Request[] => elementRequests(deleteElements, elements);

/** Returns whether the tables of routed links are needed. */
export const needsRouted = (records: readonly AttachmentRecord[]): boolean =>
  records.some(({ spec }) => mayBeRouted(spec));

const needsSix = (records: readonly AttachmentRecord[]): boolean =>
  records.some(({ spec }) =>
    [...spec.subnets, ...heldLinks(spec).flatMap(({ addresses }) => addresses.map(({ ip }) => ip))].some(
      isSix,
    ),
  );

const isSix = (address: string): boolean => address.includes(':');

/**
 * Returns what the tables must contain besides the pods' own elements. Records with the same outline differ
 * only by {@link addPod} and {@link removePod}.
 */
export function outlineOf(records: readonly AttachmentRecord[], kept: readonly PodSubnets[] = []): string[] {
  const subnets = [...kept, ...records.map(({ spec }) => spec)].flatMap((each) =>
    each.subnets.map((subnet) => `${subnet} ${each.masquerade ? 'masqueraded' : 'plain'}`),
  );
  return [...subnets, ...(needsRouted(records) ? ['routed'] : []), ...(needsSix(records) ? ['six'] : [])];
}

/**
 * Returns those subnets of networks without pods that the tables for the records can have: subnets of IPv6
 * need tables that exist only for pods with such addresses.
 */
export function keptSubnets(
  stood: readonly PodSubnets[],
  records: readonly AttachmentRecord[],
): PodSubnets[] {
  const six = needsSix(records);
  return stood.map(({ subnets, masquerade }) => ({
    subnets: six ? subnets : subnets.filter((subnet) => !isSix(subnet)),
    masquerade,
  }));
}

/**
 * Replaces all tables according to the records.
 * @param routedStand whether tables of routed links exist
 * @param kept further subnets, of {@link keptSubnets}
 */
export function rebuild(
  records: readonly AttachmentRecord[],
  routedStand: boolean,
  kept: readonly PodSubnets[] = [],
): Replacement {
  const live = records.filter(({ state }) => state !== 'detaching');
  const wanted = familiesOf(live).map((family) => definitions[family]);
  const elements = [
    ...subnetElements([...kept, ...live.map(({ spec }) => spec)]),
    ...live.flatMap(elementsOf),
  ];
  return replaceTables(tablesOf(routedStand || needsRouted(live)), (names) => [
    ...wanted.flatMap(({ table: own, sets, chains, rules }) => {
      const table = names(own);
      return [
        addTable(table),
        ...chains.map((chain) => addChain(table, chain)),
        ...sets.map((set, index) => addSet(table, set, index + 1)),
        ...rules.map(([chain, ...expressions]) => addRule(table, chain, expressions)),
      ];
    }),
    ...elementRequests(addElements, elements, names),
  ]);
}

const tablesOf = (withRouted: boolean): readonly Table[] => [...tables, ...(withRouted ? routedTables : [])];

/** Succeeds whether the tables exist or not. */
export const removeTables = (routedStand: boolean): Request[] => {
  const own = tablesOf(routedStand);
  return deleteTables([...own, ...own.map(copyNames)]);
};

const linksOf = (record: AttachmentRecord): Elements => [
  ...classElements(heldLinks(record.spec), record.class),
  ...podElements(record),
];
const elementsOf = (record: AttachmentRecord): Elements => [
  ...linksOf(record),
  ...openPorts(record, record.class),
];
const keysOf = (elements: Elements): Elements =>
  elements.map(([table, set, { key }]) => [table, set, { key }]);

export const addPod = (record: AttachmentRecord): Request[] => adding(elementsOf(record));

/**
 * @param records all records: elements that the links of another one share with this one (an address, a
 * bridge) stay
 */
export function removePod(record: AttachmentRecord, records: readonly AttachmentRecord[]): Request[] {
  const own = new Map(keysOf(linksOf(record)).map((element) => [nameOf(element), element]));
  for (const other of records)
    if (other.id !== record.id && other.state !== 'detaching')
      for (const element of heldLinks(other.spec).flatMap(senderElements)) own.delete(nameOf(element));
  return [...deleting([...own.values()]), ...removePorts(record)];
}

/** Succeeds whether the elements exist or not: each is added, if missing, and then deleted. */
function removePorts(record: AttachmentRecord): Request[] {
  const ports = hostPortElements(record);
  return [...adding(ports), ...deleting(keysOf(ports))];
}

const nameOf = ([table, set, { key }]: Elements[number]): string =>
  `${table.family} ${set} ${Buffer.from(key).toString('hex')}`;

/** Adds the links of the attachment that were created after the others. */
export const addLinks = (record: AttachmentRecord, links: readonly HeldLink[]): Request[] =>
  adding([
    ...classElements(links, record.class),
    ...links.flatMap((link) => [...linkElements(link), ...senderElements(link)]),
  ]);

/** @param record as it is before the change */
export function changeClass(record: AttachmentRecord, linkClass: LinkClass): Request[] {
  const links = heldLinks(record.spec);
  const ports = openPorts(record, linkClass);
  return [
    ...deleting(keysOf(classElements(links, record.class))),
    ...adding([...classElements(links, linkClass), ...ports]),
    ...(ports.length > 0 ? [] : removePorts(record)),
  ];
}

/**
 * Returns what connection tracking must delete when the record's host ports change hands. UDP only, because a
 * TCP connection to a former holder ends by itself.
 * @param keepOwn keep connections that the record's own pod answers
 */
export function stalePorts({ spec }: AttachmentRecord, keepOwn: boolean): StalePort[] {
  const addresses = spec.addresses.flatMap(({ ip }) => parseIp(ip) ?? []);
  const ports = spec.portMappings.filter(({ protocol }) => protocol === 'udp');
  return addresses.flatMap((address) =>
    ports.map(({ protocol, hostPort }) => ({
      family: address.family === 4 ? 2 : 10,
      protocol: protocolNumbers[protocol],
      port: hostPort,
      ...(keepOwn ? { unless: ipBytes(address) } : {}),
    })),
  );
}
