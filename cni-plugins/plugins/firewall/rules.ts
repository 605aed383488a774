import { connection, differs, equals, inSet, masked, meta, payload, register, verdict, verdictOf } from '../../netlink/expressions.ts';
import { addChain, addRule, addSet, addTable, flushChain } from '../../netlink/nftables.ts';
import type { Table } from '../../netlink/nftables.ts';
import type { Request } from '../../netlink/socket.ts';

/** The constant rules: one map element a pod address, one a bridge. Pure. */

export const tableName = 'portcullis_firewall';
export const routed: Table = { family: 'inet', name: tableName };
/** What passes from port to port of a bridge is not routed: the inet table does not see it. */
export const bridged: Table = { family: 'bridge', name: tableName };

/** Bridges whose pods reach nobody outside: a table of its own, so that one of an older version need not be changed. */
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

/** Names of chains that an administrator's chain can not have. */
export const reservedChains = /^(?:forward|accepted|from_.*|to_.*)$/u;
export const acceptedChain = 'accepted';
export const fromChain = (admin: string): string => `from_${admin}`;
export const toChain = (admin: string): string => `to_${admin}`;

const forwardHook = 2;
const establishedOrRelated = Buffer.from([0x06, 0, 0, 0]); // NF_CT_STATE_BIT: established 1 << 1, related 1 << 2
const NFPROTO_IPV4 = 2;
const NFPROTO_IPV6 = 10;

/** By the order of the upstream plugin: bridges are separated first, then the administrator's chain, then what is accepted. */
export function createRouted(): Request[] {
  const r0 = register(0);
  const names = (second: number): Buffer[] => [meta('iifname', r0), meta('oifname', second)];
  const isFamily = (family: number): Buffer[] => [meta('nfproto', r0), equals(r0, Buffer.of(family))];
  return [
    addTable(routed),
    addChain(routed, { name: 'forward', hook: { type: 'filter', number: forwardHook, priority: 0 } }),
    addChain(routed, { name: acceptedChain }),
    addSet(routed, { name: sets.pairs, key: ['ifname', 'ifname'], data: 'verdict' }, 1),
    addSet(routed, { name: sets.bridges, key: ['ifname'] }, 2),
    addSet(routed, { name: sets.from4, key: ['ipv4_addr'], data: 'verdict' }, 3),
    addSet(routed, { name: sets.to4, key: ['ipv4_addr'], data: 'verdict' }, 4),
    addSet(routed, { name: sets.from6, key: ['ipv6_addr'], data: 'verdict' }, 5),
    addSet(routed, { name: sets.to6, key: ['ipv6_addr'], data: 'verdict' }, 6),
    addRule(routed, 'forward', [...names(register(4)), verdictOf(sets.pairs, r0)]),
    addRule(routed, 'forward', [
      meta('iifname', r0),
      inSet(sets.bridges, r0),
      meta('oifname', r0),
      inSet(sets.bridges, r0),
      verdict('drop'),
    ]),
    addRule(routed, 'forward', [verdict({ goto: acceptedChain })]),
    addRule(routed, acceptedChain, [...isFamily(NFPROTO_IPV4), payload('network', 16, 4, r0), verdictOf(sets.to4, r0)]),
    addRule(routed, acceptedChain, [...isFamily(NFPROTO_IPV4), payload('network', 12, 4, r0), verdictOf(sets.from4, r0)]),
    addRule(routed, acceptedChain, [...isFamily(NFPROTO_IPV6), payload('network', 24, 16, r0), verdictOf(sets.to6, r0)]),
    addRule(routed, acceptedChain, [...isFamily(NFPROTO_IPV6), payload('network', 8, 16, r0), verdictOf(sets.from6, r0)]),
  ];
}

/** The administrator's chain, whose rules are kept, and the two that pods' addresses lead to. */
export function adminChains(admin: string): Request[] {
  const r0 = register(0);
  return [
    addChain(routed, { name: admin }),
    addChain(routed, { name: fromChain(admin) }),
    addChain(routed, { name: toChain(admin) }),
    flushChain(routed, fromChain(admin)),
    flushChain(routed, toChain(admin)),
    addRule(routed, fromChain(admin), [verdict({ jump: admin })]),
    addRule(routed, fromChain(admin), [verdict('accept')]),
    addRule(routed, toChain(admin), [verdict({ jump: admin })]),
    addRule(routed, toChain(admin), [
      connection('state', undefined, r0),
      masked(r0, establishedOrRelated),
      differs(r0, Buffer.alloc(4)),
      verdict('accept'),
    ]),
  ];
}

export function createBridged(): Request[] {
  const r0 = register(0);
  return [
    addTable(bridged),
    addChain(bridged, { name: 'forward', hook: { type: 'filter', number: forwardHook, priority: 0 } }),
    addSet(bridged, { name: sets.ports, key: ['ifname'] }, 1),
    addRule(bridged, 'forward', [meta('iifname', r0), inSet(sets.ports, r0), meta('oifname', r0), inSet(sets.ports, r0), verdict('drop')]),
  ];
}

/** What is routed into an internal bridge or out of it is dropped; what passes from port to port of one (`br_netfilter`) is not. */
export function createConfined(): Request[] {
  const [r0, second] = [register(0), register(4)];
  const drops = (name: 'iifname' | 'oifname'): Request =>
    addRule(confined, 'forward', [meta(name, r0), inSet(sets.internal, r0), verdict('drop')]);
  return [
    addTable(confined),
    // Before chains in which others accept: an accept ends its own chain only, and a drop ends all.
    addChain(confined, { name: 'forward', hook: { type: 'filter', number: forwardHook, priority: 0 } }),
    addSet(confined, { name: sets.internal, key: ['ifname'] }, 1),
    addSet(confined, { name: sets.internalPairs, key: ['ifname', 'ifname'], data: 'verdict' }, 2),
    addRule(confined, 'forward', [meta('iifname', r0), meta('oifname', second), verdictOf(sets.internalPairs, r0)]),
    drops('iifname'),
    drops('oifname'),
  ];
}
