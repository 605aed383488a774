import {
  connection,
  differs,
  equals,
  inSet,
  masked,
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
import type { Table, Request } from '../../../base/netlink/index.ts';
import { countRules } from '../../constant-rules/constant-rules.ts';
import type { ConstantRules } from '../../constant-rules/constant-rules.ts';

/** The constant rules, with one map element per pod address and one per bridge. Pure. */

export const tableName = 'portcullis_firewall';
export const routed: Table = { family: 'inet', name: tableName };
/** Frames from port to port of a bridge are not routed, so the inet table does not see them. */
export const bridged: Table = { family: 'bridge', name: tableName };

/**
 * Bridges whose pods cannot reach the outside. This is a separate table, so that a table of an older version
 * need not be changed.
 */
export const confined: Table = { family: 'inet', name: 'portcullis_internal' };

export const sets = {
  pairs: 'pairs',
  bridges: 'bridges',
  from4: 'from4',
  to4: 'to4',
  from6: 'from6',
  to6: 'to6',
  ports: 'isolated_ports',
  internal: 'internal_bridges',
  internalPairs: 'internal_pairs',
} as const;

/** Names that an administrator's chain cannot have. */
export const reservedChains = /^(?:forward|accepted|from_.*|to_.*)$/u;
export const acceptedChain = 'accepted';
export const fromChain = (admin: string): string => `from_${admin}`;
export const toChain = (admin: string): string => `to_${admin}`;

const forwardHook = 2;
// NF_CT_STATE_BIT: established 1 << 1, related 1 << 2
const establishedOrRelated = Buffer.from([0x06, 0, 0, 0]);
const NFPROTO_IPV4 = 2;
const NFPROTO_IPV6 = 10;

type Rules = readonly (readonly [chain: string, ...expressions: readonly Buffer[]])[];

const [r0, r4] = [register(0), register(4)];
const isFamily = (family: number): Buffer[] => [meta('nfproto', r0), equals(r0, Buffer.of(family))];

/**
 * The order of the upstream plugin: isolation of bridges first, then the administrator's chain, then accepted
 * packets.
 */
const routedRules: Rules = [
  ['forward', meta('iifname', r0), meta('oifname', r4), verdictOf(sets.pairs, r0)],
  [
    'forward',
    meta('iifname', r0),
    inSet(sets.bridges, r0),
    meta('oifname', r0),
    inSet(sets.bridges, r0),
    verdict('drop'),
  ],
  ['forward', verdict({ goto: acceptedChain })],
  [acceptedChain, ...isFamily(NFPROTO_IPV4), payload('network', 16, 4, r0), verdictOf(sets.to4, r0)],
  [acceptedChain, ...isFamily(NFPROTO_IPV4), payload('network', 12, 4, r0), verdictOf(sets.from4, r0)],
  [acceptedChain, ...isFamily(NFPROTO_IPV6), payload('network', 24, 16, r0), verdictOf(sets.to6, r0)],
  [acceptedChain, ...isFamily(NFPROTO_IPV6), payload('network', 8, 16, r0), verdictOf(sets.from6, r0)],
];

const adminRules = (admin: string): Rules => [
  [fromChain(admin), verdict({ jump: admin })],
  [fromChain(admin), verdict('accept')],
  [toChain(admin), verdict({ jump: admin })],
  [
    toChain(admin),
    connection('state', undefined, r0),
    masked(r0, establishedOrRelated),
    differs(r0, Buffer.alloc(4)),
    verdict('accept'),
  ],
];

const bridgedRules: Rules = [
  [
    'forward',
    meta('iifname', r0),
    inSet(sets.ports, r0),
    meta('oifname', r0),
    inSet(sets.ports, r0),
    verdict('drop'),
  ],
];

/**
 * Drops packets that are routed into or out of an internal bridge, but not frames from port to port of a
 * bridge (`br_netfilter`).
 */
const confinedRules: Rules = [
  ['forward', meta('iifname', r0), meta('oifname', r4), verdictOf(sets.internalPairs, r0)],
  ['forward', meta('iifname', r0), inSet(sets.internal, r0), verdict('drop')],
  ['forward', meta('oifname', r0), inSet(sets.internal, r0), verdict('drop')],
];

/**
 * Returns the rules of each table that do not depend on pods. @param admin the administrator's chain, whose
 * own rules are not counted
 */
export function constantRules(table: Table, admin: string): ConstantRules {
  if (table === bridged) return countRules(bridgedRules);
  return countRules(table === confined ? confinedRules : [...routedRules, ...adminRules(admin)]);
}

const replaceChains = (table: Table, chains: readonly string[], rules: Rules): Request[] => [
  ...chains.map((chain) => flushChain(table, chain)),
  ...rules.map(([chain, ...expressions]) => addRule(table, chain, expressions)),
];

/**
 * Where the table exists, its sets stay unchanged and its rules are recreated. The same applies to the other
 * tables.
 */
export const createRouted = (): Request[] => [
  addTable(routed),
  addChain(routed, { name: 'forward', hook: { type: 'filter', number: forwardHook, priority: 0 } }),
  addChain(routed, { name: acceptedChain }),
  addSet(routed, { name: sets.pairs, key: ['ifname', 'ifname'], data: 'verdict' }, 1),
  addSet(routed, { name: sets.bridges, key: ['ifname'] }, 2),
  addSet(routed, { name: sets.from4, key: ['ipv4_addr'], data: 'verdict' }, 3),
  addSet(routed, { name: sets.to4, key: ['ipv4_addr'], data: 'verdict' }, 4),
  addSet(routed, { name: sets.from6, key: ['ipv6_addr'], data: 'verdict' }, 5),
  addSet(routed, { name: sets.to6, key: ['ipv6_addr'], data: 'verdict' }, 6),
  ...replaceChains(routed, ['forward', acceptedChain], routedRules),
];

/** The administrator's chain, whose rules are kept, and the two chains that pods' addresses lead to. */
export const adminChains = (admin: string): Request[] => [
  ...[admin, fromChain(admin), toChain(admin)].map((name) => addChain(routed, { name })),
  ...replaceChains(routed, [fromChain(admin), toChain(admin)], adminRules(admin)),
];

export const createBridged = (): Request[] => [
  addTable(bridged),
  addChain(bridged, { name: 'forward', hook: { type: 'filter', number: forwardHook, priority: 0 } }),
  addSet(bridged, { name: sets.ports, key: ['ifname'] }, 1),
  ...replaceChains(bridged, ['forward'], bridgedRules),
];

export const createConfined = (): Request[] => [
  addTable(confined),
  // Before chains in which other programs accept: an accept ends only its own chain, and a drop ends all.
  addChain(confined, { name: 'forward', hook: { type: 'filter', number: forwardHook, priority: 0 } }),
  addSet(confined, { name: sets.internal, key: ['ifname'] }, 1),
  addSet(confined, { name: sets.internalPairs, key: ['ifname', 'ifname'], data: 'verdict' }, 2),
  ...replaceChains(confined, ['forward'], confinedRules),
];
