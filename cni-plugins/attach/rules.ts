import {
  counter,
  destinationIsLocal,
  destinationTranslated,
  differs,
  equals,
  fragmentOffset,
  inSet,
  mapped,
  masked,
  masquerade,
  meta,
  notInSet,
  originalPort,
  payload,
  register,
  translateDestination,
  verdict,
  verdictOf,
} from '../netlink/expressions.ts';
import { interfaceKey } from '../netlink/nftables.ts';
import type { Chain, Family, NamedSet, Table } from '../netlink/nftables.ts';
import { be16 } from '../netlink/wire.ts';
import { linkGroups } from './record.ts';

/**
 * The rules, as values. They never change: what a pod is and may do stands in sets and maps, one element a pod. Pure.
 *
 * - `table bridge portcullis`: every frame from or to a link of ours, told by the link's group, which it has from birth. A link
 *   without an element is denied. A pod cannot reach these rules, whatever its capabilities: they are on the host's end.
 * - `table ip portcullis`, `table ip6 portcullis`: masquerade for all pods by one rule, host ports by one rule and map.
 */
export const bridgeTable: Table = { family: 'bridge', name: 'portcullis' };
export const ipTable: Table = { family: 'ip', name: 'portcullis' };
export const ip6Table: Table = { family: 'ip6', name: 'portcullis' };
export const tables: readonly Table[] = [bridgeTable, ipTable, ip6Table];

/** One table with all that is constant in it. */
export interface Definition {
  readonly table: Table;
  readonly sets: readonly NamedSet[];
  readonly chains: readonly Chain[];
  readonly rules: readonly (readonly [chain: string, ...expressions: readonly Buffer[]])[];
}

const group = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

const etherType = { ip: be16(0x0800), arp: be16(0x0806), ip6: be16(0x86dd) };
const ICMPV6 = 58;
const ROUTER_ADVERTISEMENT = 134;
const NEIGHBOUR_ADVERTISEMENT = 136;
const REDIRECT = 137;
const [r0, r4, r6] = [register(0), register(4), register(6)];

/** The key of `sources` and `sources6`: interface (16 bytes), MAC (6, padded to 8), address. */
const sender = (mac: Buffer, address: Buffer): readonly Buffer[] => [meta('iifname', r0), mac, address];
const frameSource = payload('link', 6, 6, r4);

/** What the class of a link, or its own address, has denied: one element a pod, which counts. */
export const denialSets = ['denied_from', 'denied_to', 'denied_forged'] as const;

const denied = (chain: string, link: 'iifname' | 'oifname', set: string): Definition['rules'] => [
  [chain, meta(link, r0), inSet(set, r0), verdict('drop')],
  [chain, verdict('drop')],
];

const bridgeDefinition: Definition = {
  table: bridgeTable,
  sets: [
    { name: 'egress', key: ['ifname'], data: 'verdict' },
    { name: 'ingress', key: ['ifname'], data: 'verdict' },
    { name: 'sources', key: ['ifname', 'ether_addr', 'ipv4_addr'] },
    { name: 'sources6', key: ['ifname', 'ether_addr', 'ipv6_addr'] },
    ...denialSets.map((name): NamedSet => ({ name, key: ['ifname'], counted: true })),
  ],
  chains: [
    { name: 'prerouting', hook: { type: 'filter', number: 0, priority: -300 } },
    { name: 'input', hook: { type: 'filter', number: 1, priority: -300 } },
    { name: 'postrouting', hook: { type: 'filter', number: 4, priority: 0 } },
    { name: 'from_pod' },
    { name: 'to_pod' },
    { name: 'from_user' },
    { name: 'closed_from' },
    { name: 'closed_to' },
    { name: 'forged' },
  ],
  rules: [
    ['prerouting', meta('iifgroup', r0), equals(r0, group(linkGroups.pod)), verdict({ goto: 'from_pod' })],
    // Frames to 01:80:c2:00:00:0x (STP, LLDP …) skip the first hook; a pod has no business with them.
    [
      'input',
      meta('iifgroup', r0),
      equals(r0, group(linkGroups.pod)),
      payload('link', 0, 6, r0),
      masked(r0, Buffer.from('fffffffffff0', 'hex')),
      equals(r0, Buffer.from('0180c2000000', 'hex')),
      verdict('drop'),
    ],
    ['postrouting', meta('oifgroup', r0), equals(r0, group(linkGroups.pod)), verdict({ goto: 'to_pod' })],
    ['from_pod', meta('iifname', r0), verdictOf('egress', r0)],
    ['from_pod', counter(), verdict('drop')],
    ['to_pod', meta('oifname', r0), verdictOf('ingress', r0)],
    ['to_pod', counter(), verdict('drop')],
    // ARP: both the frame and what it claims must be the pod's own.
    [
      'from_user',
      payload('link', 12, 2, r0),
      equals(r0, etherType.arp),
      ...sender(frameSource, payload('network', 14, 4, r6)),
      inSet('sources', r0),
      ...sender(payload('network', 8, 6, r4), payload('network', 14, 4, r6)),
      inSet('sources', r0),
      verdict('accept'),
    ],
    // route_localnet is on for host ports on 127.0.0.1: a pod must not reach the host's loopback by it (CVE-2020-8558).
    [
      'from_user',
      payload('link', 12, 2, r0),
      equals(r0, etherType.ip),
      payload('network', 16, 1, r0),
      equals(r0, Buffer.of(127)),
      verdict({ goto: 'forged' }),
    ],
    [
      'from_user',
      payload('link', 12, 2, r0),
      equals(r0, etherType.ip),
      ...sender(frameSource, payload('network', 12, 4, r6)),
      inSet('sources', r0),
      verdict('accept'),
    ],
    ...[ROUTER_ADVERTISEMENT, REDIRECT].map((type): Definition['rules'][number] => [
      'from_user',
      payload('link', 12, 2, r0),
      equals(r0, etherType.ip6),
      meta('l4proto', r0),
      equals(r0, Buffer.of(ICMPV6)),
      payload('transport', 0, 1, r0),
      equals(r0, Buffer.of(type)),
      verdict({ goto: 'forged' }),
    ]),
    // A neighbour advertisement for an address that is not the pod's.
    [
      'from_user',
      payload('link', 12, 2, r0),
      equals(r0, etherType.ip6),
      meta('l4proto', r0),
      equals(r0, Buffer.of(ICMPV6)),
      payload('transport', 0, 1, r0),
      equals(r0, Buffer.of(NEIGHBOUR_ADVERTISEMENT)),
      ...sender(frameSource, payload('transport', 8, 16, r6)),
      notInSet('sources6', r0),
      verdict({ goto: 'forged' }),
    ],
    // What else is ICMPv6 shows its type, or is a later fragment: an advertisement that is hidden from the rules above passes neither (RFC 7113).
    ...[
      [differs(r0, Buffer.of(ICMPV6))],
      [equals(r0, Buffer.of(ICMPV6)), payload('transport', 0, 1, r0)],
      [equals(r0, Buffer.of(ICMPV6)), fragmentOffset(r0), masked(r0, be16(0xfff8)), differs(r0, be16(0))],
    ].map((shown): Definition['rules'][number] => [
      'from_user',
      payload('link', 12, 2, r0),
      equals(r0, etherType.ip6),
      meta('l4proto', r0),
      ...shown,
      ...sender(frameSource, payload('network', 8, 16, r6)),
      inSet('sources6', r0),
      verdict('accept'),
    ]),
    // Spoofed, or neither IP nor ARP.
    ['from_user', verdict({ goto: 'forged' })],
    // One drop whether the pod is known there or not: the first counts it by pod.
    ...denied('closed_from', 'iifname', 'denied_from'),
    ...denied('closed_to', 'oifname', 'denied_to'),
    ...denied('forged', 'iifname', 'denied_forged'),
  ],
};

const loopbackFromOutside: Definition['rules'][number] = [
  'loopback',
  payload('network', 16, 1, r0),
  equals(r0, Buffer.of(127)),
  meta('iifname', r0),
  differs(r0, interfaceKey('lo')),
  verdict('drop'),
];

function ipDefinition(family: 'ip' | 'ip6'): Definition {
  const address = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const width = family === 'ip' ? 4 : 16;
  const source = (to: number): Buffer => (family === 'ip' ? payload('network', 12, 4, to) : payload('network', 8, 16, to));
  const destination = (to: number): Buffer => (family === 'ip' ? payload('network', 16, 4, to) : payload('network', 24, 16, to));
  const port = (to: number): Buffer => payload('transport', 2, 2, to);
  const after = (index: number): number => register(index + width / 4);
  // Value of the port maps: address, then port.
  const translate = translateDestination(family, register(0), after(0));
  const multicast =
    family === 'ip'
      ? [masked(register(0), Buffer.of(0xf0)), differs(register(0), Buffer.of(0xe0))]
      : [differs(register(0), Buffer.of(0xff))];
  return {
    table: family === 'ip' ? ipTable : ip6Table,
    sets: [
      { name: 'pods', key: [address], interval: true },
      { name: 'masquerade', key: [address], interval: true },
      { name: 'hairpin', key: [address], interval: true },
      { name: 'host_ports', key: [address, 'inet_proto', 'inet_service'], data: [address, 'inet_service'] },
      { name: 'any_host_ports', key: ['inet_proto', 'inet_service'], data: [address, 'inet_service'] },
      { name: 'forwarded', key: ['inet_proto', 'inet_service', address, 'inet_service'] },
    ],
    chains: [
      { name: 'prerouting', hook: { type: 'nat', number: 0, priority: -100 } },
      { name: 'output', hook: { type: 'nat', number: 3, priority: -100 } },
      { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } },
      { name: 'host_ports_of' },
      ...(family === 'ip' ? [{ name: 'loopback', hook: { type: 'filter', number: 0, priority: -300 } } as const] : []),
    ],
    rules: [
      // Nor may any other port of the bridge: an uplink or a tunnel that was put there.
      ...(family === 'ip' ? [loopbackFromOutside] : []),
      ['prerouting', ...destinationIsLocal(register(0)), verdict({ jump: 'host_ports_of' })],
      ['output', ...destinationIsLocal(register(0)), verdict({ jump: 'host_ports_of' })],
      [
        'host_ports_of',
        destination(register(0)),
        meta('l4proto', after(0)),
        port(after(1)),
        mapped('host_ports', register(0), register(0)),
        translate,
      ],
      ['host_ports_of', meta('l4proto', register(0)), port(register(1)), mapped('any_host_ports', register(0), register(0)), translate],
      // The answer to the host itself, or to a pod on the same bridge, must come back this way to be translated again.
      [
        'postrouting',
        ...destinationTranslated(register(0)),
        meta('l4proto', register(0)),
        originalPort(register(1)),
        destination(register(2)),
        port(after(2)),
        inSet('forwarded', register(0)),
        source(register(0)),
        inSet('hairpin', register(0)),
        masquerade(),
      ],
      [
        'postrouting',
        source(register(0)),
        inSet('masquerade', register(0)),
        destination(register(0)),
        notInSet('pods', register(0)),
        payload('network', family === 'ip' ? 16 : 24, 1, register(0)),
        ...multicast,
        masquerade(),
      ],
    ],
  };
}

export const definitions: Readonly<Record<Family, Definition>> = {
  bridge: bridgeDefinition,
  ip: ipDefinition('ip'),
  ip6: ipDefinition('ip6'),
};
