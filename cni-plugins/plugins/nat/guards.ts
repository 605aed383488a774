import { createHash } from 'node:crypto';
import {
  addChain,
  addRule,
  differs,
  equals,
  flushChain,
  interfaceKey,
  masked,
  meta,
  payload,
  register,
  verdict,
} from '../../../base/netlink/index.ts';
import { ipBytes, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import { tableOf } from './tables.ts';
import type { SharedChain } from './tables.ts';

/** Conditions under which host ports lead to a pod, as rules. Pure. */

/** A property of the packet. All conditions of a host port must hold. */
export interface Condition {
  readonly on: 'source' | 'destination' | 'interface';
  /** The property has none of the values. Otherwise it has one of them. */
  readonly isNegated: boolean;
  /** Networks in CIDR form, or names of interfaces through which the packet arrives. */
  readonly values: readonly string[];
}

const r0 = register(0);

/**
 * Returns the chain that lets a packet pass on to the translation only if the conditions hold. Every other
 * packet is accepted as it is: the translation of this table ends for it.
 */
export function guardChain(family: IpFamily, conditions: readonly Condition[]): SharedChain {
  const table = tableOf(family);
  const digest = createHash('sha256').update(JSON.stringify(conditions)).digest('hex');
  const name = `guard_${digest.slice(0, 24)}`;
  const rules = conditions.flatMap((condition) => violations(family, condition));
  return {
    name,
    rules: rules.length,
    requests: [
      addChain(table, { name }),
      flushChain(table, name),
      ...rules.map((matches) => addRule(table, name, [...matches, verdict('accept')])),
    ],
  };
}

/** Returns the matches of packets that do not fulfil the condition, one rule each. */
function violations(family: IpFamily, { on, isNegated, values }: Condition): (readonly Buffer[])[] {
  const matches = values.map((value) => matchOf(family, on, value, isNegated));
  // One of the values is excluded by one match. None of the values is the case when all matches differ.
  return isNegated ? matches : [matches.flat()];
}

function matchOf(family: IpFamily, on: Condition['on'], value: string, isEqual: boolean): readonly Buffer[] {
  const compare = isEqual ? equals : differs;
  if (on === 'interface') return [meta('iifname', r0), compare(r0, interfaceKey(value))];
  const prefix = parsePrefix(value);
  if (prefix === undefined) throw new Error(`${value} is recorded as a prefix and is not one`);
  const [source, destination, width] = family === 4 ? [12, 16, 4] : [8, 24, 16];
  const bits = BigInt(width * 8);
  const mask = ((1n << bits) - 1n) ^ ((1n << (bits - BigInt(prefix.length))) - 1n);
  return [
    payload('network', on === 'source' ? source : destination, width, r0),
    masked(r0, ipBytes({ family, value: mask })),
    compare(r0, ipBytes(prefix.address)),
  ];
}
