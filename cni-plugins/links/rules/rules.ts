import {
  counter,
  differs,
  equals,
  inSet,
  masked,
  masquerade,
  meta,
  notInSet,
  payload,
  register,
  verdict,
  interfaceKey,
  be16,
} from '../../../base/netlink/index.ts';
import type { Chain, Family, NamedSet, Table } from '../../../base/netlink/index.ts';
import { countRules } from '../../constant-rules/constant-rules.ts';
import type { ConstantRules } from '../../constant-rules/constant-rules.ts';
import { forwardedConnection, hostPortRules } from '../../constant-rules/host-port-rules.ts';
import { addMark, hasMark, sharedMarks } from '../../constant-rules/packet-marks.ts';
import { classChains, classRules, classSets } from './class-rules.ts';
import type { Rules } from './class-rules.ts';
import { linkGroups } from '../../database/record.ts';

/**
 * The rules, as values. They never change: the identity and permissions of pods are in sets and maps, one
 * element per pod. Pure.
 *
 * - `table bridge portcullis`: every frame from or to a link of ours, identified by the link's group, which
 *   it has from creation. A link without an element is denied. A pod cannot change these rules, whatever its
 *   capabilities, because they are on the host's end.
 * - `table inet portcullis`, `table arp portcullis`: the same for links that are not ports of a bridge, to
 *   which the host routes.
 * - `table ip portcullis`, `table ip6 portcullis`: masquerade for all pods by one rule, host ports by one
 *   rule and map.
 */
export const bridgeTable: Table = { family: 'bridge', name: 'portcullis' };
export const ipTable: Table = { family: 'ip', name: 'portcullis' };
export const ip6Table: Table = { family: 'ip6', name: 'portcullis' };
/**
 * Tables of links that the host routes to. They exist only while there may be such a link: a kernel may lack
 * the family `arp`.
 */
export const routedTable: Table = { family: 'inet', name: 'portcullis' };
export const arpTable: Table = { family: 'arp', name: 'portcullis' };
export const routedTables: readonly Table[] = [routedTable, arpTable];
export const tables: readonly Table[] = [bridgeTable, ipTable, ip6Table];

/** One table with everything that is constant in it. */
export interface Definition {
  readonly table: Table;
  readonly sets: readonly NamedSet[];
  readonly chains: readonly Chain[];
  readonly rules: Rules;
}

const group = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

const r0 = register(0);

const fromGroup = (key: 'iifgroup' | 'oifgroup', of: number): readonly Buffer[] => [
  meta(key, r0),
  equals(r0, group(of)),
];

const notFromPod: readonly Buffer[] = [meta('iifgroup', r0), differs(r0, group(linkGroups.pod))];

const etherTypeIs = (type: number): readonly Buffer[] => [payload('link', 12, 2, r0), equals(r0, be16(type))];
const [IPV4, ARP, IPV6] = [0x0800, 0x0806, 0x86dd];
const ICMPV6 = 58;
const NEIGHBOUR_ADVERTISEMENT = 136;

/**
 * Prevents other ports of the bridge (an uplink, a tunnel, links of other runtimes) from sending as a pod, or
 * claiming a pod's address. The bridge of a frame is determined by its destination, because not every kernel
 * provides the name of the bridge (CONFIG_NFT_BRIDGE_META): guests of another bridge may have the same
 * addresses.
 */
const notByOtherPorts: Rules = [
  [...etherTypeIs(IPV4), payload('network', 12, 4, r0), inSet('pods4', r0)],
  [...etherTypeIs(ARP), payload('network', 14, 4, r0), inSet('pods4', r0)],
  [...etherTypeIs(IPV6), payload('network', 8, 16, r0), inSet('pods6', r0)],
  [
    ...etherTypeIs(IPV6),
    meta('l4proto', r0),
    equals(r0, Buffer.of(ICMPV6)),
    payload('transport', 0, 1, r0),
    equals(r0, Buffer.of(NEIGHBOUR_ADVERTISEMENT)),
    payload('transport', 8, 16, r0),
    inSet('pods6', r0),
  ],
].map((conditions) => ['by_others', ...conditions, counter(), verdict('drop')] as const);

/**
 * Handles packets that a balancer sends back into the bridge (docs/decisions/0126). A balancer hides the
 * client from the backend if the answer would not pass the host. These answers pass: the frame was given to
 * the rules of the IP layer (bridge-netfilter), and it comes from a link of ours, which leads to one pod, and
 * does not go back to it.
 */
const balancedBack: Rules = [
  [
    'forward',
    ...hasMark(sharedMarks.chosen),
    ...fromGroup('iifgroup', linkGroups.pod),
    verdict({ jump: 'balanced' }),
  ],
  ...(
    [
      [IPV4, 12, 4, 'own4'],
      [IPV6, 8, 16, 'own6'],
    ] as const
  ).map(([type, offset, width, own]): Rules[number] => [
    'balanced',
    ...etherTypeIs(type),
    meta('oifname', r0),
    payload('network', offset, width, register(4)),
    inSet(own, r0),
    verdict('return'),
  ]),
  ['balanced', ...addMark(r0, sharedMarks.bridged)],
  // IPVS takes the packet as one to the host. Its rules have set the mark by now only if this bridge passed
  // the frame to them.
  [
    'input',
    ...hasMark(sharedMarks.chosen),
    ...fromGroup('iifgroup', linkGroups.pod),
    ...addMark(r0, sharedMarks.bridged),
  ],
];

const bridgeDefinition: Definition = {
  table: bridgeTable,
  sets: [
    ...classSets('frames'),
    { name: 'pods4', key: ['ipv4_addr'] },
    { name: 'pods6', key: ['ipv6_addr'] },
    { name: 'own_macs', key: ['ether_addr'] },
  ],
  chains: [
    { name: 'prerouting', hook: { type: 'filter', number: 0, priority: -300 } },
    { name: 'input', hook: { type: 'filter', number: 1, priority: -300 } },
    { name: 'forward', hook: { type: 'filter', number: 2, priority: -300 } },
    { name: 'postrouting', hook: { type: 'filter', number: 4, priority: 0 } },
    { name: 'by_others' },
    { name: 'balanced' },
    ...classChains,
  ],
  rules: [
    ['prerouting', ...fromGroup('iifgroup', linkGroups.pod), verdict({ goto: 'from_pod' })],
    // Frames to a pod or its bridge alone: checked before bridge-netfilter passes them to connection
    // tracking.
    ['prerouting', payload('link', 0, 6, r0), inSet('own_macs', r0), verdict({ jump: 'by_others' })],
    // Frames to several receivers: the host does not accept what comes as a pod, from any bridge (`senders`),
    // and neither does a pod.
    ['input', ...notFromPod, verdict({ jump: 'by_others' })],
    ['forward', ...notFromPod, ...fromGroup('oifgroup', linkGroups.pod), verdict({ jump: 'by_others' })],
    ...balancedBack,
    ...notByOtherPorts,
    // Frames to 01:80:c2:00:00:0x (STP, LLDP …) skip the first hook; a pod has no reason to send them.
    [
      'input',
      ...fromGroup('iifgroup', linkGroups.pod),
      payload('link', 0, 6, r0),
      masked(r0, Buffer.from('fffffffffff0', 'hex')),
      equals(r0, Buffer.from('0180c2000000', 'hex')),
      verdict('drop'),
    ],
    ['postrouting', ...fromGroup('oifgroup', linkGroups.pod), verdict({ goto: 'to_pod' })],
    ...classRules('frames'),
  ],
};

/**
 * The hooks are before connection tracking (-200) and all translation, and after both: they see the same
 * packets as the link itself.
 */
const routedDefinition: Definition = {
  table: routedTable,
  sets: classSets('packets'),
  chains: [
    { name: 'prerouting', hook: { type: 'filter', number: 0, priority: -300 } },
    { name: 'postrouting', hook: { type: 'filter', number: 4, priority: 300 } },
    ...classChains,
  ],
  rules: [
    ['prerouting', ...fromGroup('iifgroup', linkGroups.routed), verdict({ goto: 'from_pod' })],
    ['postrouting', ...fromGroup('oifgroup', linkGroups.routed), verdict({ goto: 'to_pod' })],
    ...classRules('packets'),
  ],
};

const arpDefinition: Definition = {
  table: arpTable,
  sets: classSets('arp'),
  // The kernel numbers the hooks of this family separately (NF_ARP_IN, NF_ARP_OUT).
  chains: [
    { name: 'input', hook: { type: 'filter', number: 0, priority: -300 } },
    { name: 'output', hook: { type: 'filter', number: 1, priority: -300 } },
    ...classChains,
  ],
  rules: [
    ['input', ...fromGroup('iifgroup', linkGroups.routed), verdict({ goto: 'from_pod' })],
    ['output', ...fromGroup('oifgroup', linkGroups.routed), verdict({ goto: 'to_pod' })],
    ...classRules('arp'),
  ],
};

const loopbackFromOutside: Rules[number] = [
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
  const source = (to: number): Buffer =>
    family === 'ip' ? payload('network', 12, 4, to) : payload('network', 8, 16, to);
  const destination = (to: number): Buffer =>
    family === 'ip' ? payload('network', 16, 4, to) : payload('network', 24, 16, to);
  const after = (index: number): number => register(index + width / 4);
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
      { name: 'held', key: [address] },
      { name: 'held_links', key: [address, 'ifname'] },
    ],
    chains: [
      { name: 'prerouting', hook: { type: 'nat', number: 0, priority: -100 } },
      { name: 'output', hook: { type: 'nat', number: 3, priority: -100 } },
      { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } },
      { name: 'host_ports_of' },
      ...(family === 'ip'
        ? [{ name: 'loopback', hook: { type: 'filter', number: 0, priority: -300 } } as const]
        : []),
      // Before connection tracking, which would treat a forged packet as a reply or a connection of the pod.
      { name: 'senders', hook: { type: 'filter', number: 0, priority: -300 } },
    ],
    rules: [
      // Other ports of the bridge, such as an uplink or a tunnel, must not reach the host's loopback
      // addresses either.
      ...(family === 'ip' ? [loopbackFromOutside] : []),
      // A pod's address may come only through the pod's own link: its bridge, or the link that the host
      // routes to.
      [
        'senders',
        source(register(0)),
        inSet('held', register(0)),
        meta('iifname', after(0)),
        notInSet('held_links', register(0)),
        counter(),
        verdict('drop'),
      ],
      ...hostPortRules(family, { exact: 'host_ports', any: 'any_host_ports' }),
      [
        'postrouting',
        ...forwardedConnection(family),
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
  inet: routedDefinition,
  arp: arpDefinition,
  ip: ipDefinition('ip'),
  ip6: ipDefinition('ip6'),
};

/** The number of rules of each chain, by the family of its table. */
export const constantRules: Readonly<Record<Family, ConstantRules>> = {
  bridge: countRules(definitions.bridge.rules),
  inet: countRules(definitions.inet.rules),
  arp: countRules(definitions.arp.rules),
  ip: countRules(definitions.ip.rules),
  ip6: countRules(definitions.ip6.rules),
};
