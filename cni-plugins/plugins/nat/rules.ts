import { LRUCache } from 'lru-cache';
import {
  differs,
  equals,
  masked,
  masquerade,
  meta,
  payload,
  register,
  verdict,
  verdictOf,
  addChain,
  addRule,
  addSet,
  addTable,
  flushChain,
} from '../../../base/netlink/index.ts';
import type { Request, Table } from '../../../base/netlink/index.ts';
import { ipBytes, networkOf } from '../../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../../base/addresses/index.ts';
import { countRules } from '../../constant-rules/constant-rules.ts';
import type { ConstantRules } from '../../constant-rules/constant-rules.ts';
import { tableOf } from './tables.ts';
import type { SharedChain } from './tables.ts';
import { forwardedConnection, hostPortRules } from '../../constant-rules/host-port-rules.ts';

/**
 * Address translation for attachments of CNI plugins: constant rules in their own tables, one map element per
 * pod or host port, one chain per subnet. The tables of our own runtime's pods (links/rules/rules.ts) are
 * separate: those are replaced as a whole. Pure.
 */

/** Maps of each table. */
export const maps = {
  masquerade: 'masquerade',
  hostPorts: 'host_ports',
  anyHostPorts: 'any_host_ports',
  /** Conditions of host ports: by address, protocol and port, or by protocol and port. */
  guards: 'guards',
  anyGuards: 'any_guards',
  forwarded: 'forwarded',
} as const;

type Rules = readonly (readonly [chain: string, ...expressions: readonly Buffer[]])[];

function rulesOf(family: IpFamily): Rules {
  const [ip, width] = family === 4 ? (['ip', 4] as const) : (['ip6', 16] as const);
  const source = (to: number): Buffer => payload('network', family === 4 ? 12 : 8, width, to);
  const destination = (to: number): Buffer => payload('network', family === 4 ? 16 : 24, width, to);
  const after = (index: number): number => register(index + width / 4);
  const port = (to: number): Buffer => payload('transport', 2, 2, to);
  return [
    [
      'host_ports_of',
      destination(register(0)),
      meta('l4proto', after(0)),
      port(after(1)),
      verdictOf(maps.guards, register(0)),
    ],
    [
      'host_ports_of',
      meta('l4proto', register(0)),
      port(register(1)),
      verdictOf(maps.anyGuards, register(0)),
    ],
    ...hostPortRules(ip, { exact: maps.hostPorts, any: maps.anyHostPorts }),
    ['postrouting', ...forwardedConnection(ip), verdictOf(maps.forwarded, register(0))],
    ['postrouting', source(register(0)), verdictOf(maps.masquerade, register(0))],
    ['masquerade_all', masquerade()],
    // route_localnet is on for host ports on 127.0.0.1: no outside host may reach the host's loopback through
    // it (CVE-2020-8558).
    ...(family === 4
      ? [
          [
            'loopback',
            destination(register(0)),
            masked(register(0), Buffer.of(255, 0, 0, 0)),
            equals(register(0), Buffer.of(127, 0, 0, 0)),
            meta('iifname', register(0)),
            differs(register(0), Buffer.from('lo'.padEnd(16, '\0'), 'latin1')),
            verdict('drop'),
          ] as const,
        ]
      : []),
  ];
}

/** Rules of each chain except those of subnets. */
export const constantRules: Readonly<Record<IpFamily, ConstantRules>> = {
  4: countRules(rulesOf(4)),
  6: countRules(rulesOf(6)),
};

/** Where the table exists, its maps stay unchanged, and its rules are recreated. */
export function createTable(family: IpFamily): Request[] {
  const table = tableOf(family);
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const sets = [
    { name: maps.masquerade, key: [address], data: 'verdict' },
    { name: maps.hostPorts, key: [address, 'inet_proto', 'inet_service'], data: [address, 'inet_service'] },
    { name: maps.anyHostPorts, key: ['inet_proto', 'inet_service'], data: [address, 'inet_service'] },
    { name: maps.guards, key: [address, 'inet_proto', 'inet_service'], data: 'verdict' },
    { name: maps.anyGuards, key: ['inet_proto', 'inet_service'], data: 'verdict' },
    { name: maps.forwarded, key: ['inet_proto', 'inet_service', address, 'inet_service'], data: 'verdict' },
  ] as const;
  return [
    addTable(table),
    addChain(table, { name: 'prerouting', hook: { type: 'nat', number: 0, priority: -100 } }),
    addChain(table, { name: 'output', hook: { type: 'nat', number: 3, priority: -100 } }),
    addChain(table, { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } }),
    addChain(table, { name: 'host_ports_of' }),
    addChain(table, { name: 'masquerade_all' }),
    ...(family === 4
      ? [addChain(table, { name: 'loopback', hook: { type: 'filter', number: 0, priority: -300 } })]
      : []),
    ...sets.map((set, index) => addSet(table, set, index + 1)),
    ...[...constantRules[family].keys()].map((chain) => flushChain(table, chain)),
    ...rulesOf(family).map(([chain, ...expressions]) => addRule(table, chain, expressions)),
  ];
}

const nameOf = (purpose: string, subnet: IpPrefix): string =>
  `${purpose}_${ipBytes(networkOf(subnet)).toString('hex')}_${subnet.length}`;

function maskOf(subnet: IpPrefix): Buffer {
  const bits = subnet.address.family === 4 ? 32n : 128n;
  const host = bits - BigInt(subnet.length);
  return ipBytes({ family: subnet.address.family, value: ((1n << bits) - 1n) & ~((1n << host) - 1n) });
}

/** The chains of the subnets that were requested last: each pod asks for its own. */
const chains = new LRUCache<string, SharedChain>({ max: 256 });

function chainOf(table: Table, name: string, rulesOf: () => readonly (readonly Buffer[])[]): SharedChain {
  const remembered = chains.get(`${table.family} ${name}`);
  if (remembered !== undefined) return remembered;
  const rules = rulesOf();
  const requests = [
    addChain(table, { name }),
    flushChain(table, name),
    ...rules.map((rule) => addRule(table, name, rule)),
  ];
  const chain = { name, rules: rules.length, requests };
  chains.set(`${table.family} ${name}`, chain);
  return chain;
}

/** Masquerades packets that leave the subnet, except multicast. */
export function leavingChain(subnet: IpPrefix): SharedChain {
  const { family } = subnet.address;
  return chainOf(tableOf(family), nameOf('leaving', subnet), () => {
    const r0 = register(0);
    const destination = family === 4 ? payload('network', 16, 4, r0) : payload('network', 24, 16, r0);
    const multicast =
      family === 4
        ? [
            payload('network', 16, 1, r0),
            masked(r0, Buffer.of(0xf0)),
            equals(r0, Buffer.of(0xe0)),
            verdict('return'),
          ]
        : [payload('network', 24, 1, r0), equals(r0, Buffer.of(0xff)), verdict('return')];
    return [
      [destination, masked(r0, maskOf(subnet)), equals(r0, ipBytes(networkOf(subnet))), verdict('return')],
      multicast,
      [masquerade()],
    ];
  });
}

/** Masquerades connections to a host port from the subnet itself or from the host's loopback. */
export function returningChain(subnet: IpPrefix): SharedChain {
  const { family } = subnet.address;
  return chainOf(tableOf(family), nameOf('returning', subnet), () => {
    const r0 = register(0);
    const source = family === 4 ? payload('network', 12, 4, r0) : payload('network', 8, 16, r0);
    return [
      [source, masked(r0, maskOf(subnet)), equals(r0, ipBytes(networkOf(subnet))), masquerade()],
      ...(family === 4
        ? [[source, masked(r0, Buffer.of(255, 0, 0, 0)), equals(r0, Buffer.of(127, 0, 0, 0)), masquerade()]]
        : []),
    ];
  });
}

export const masqueradeAll = 'masquerade_all';
