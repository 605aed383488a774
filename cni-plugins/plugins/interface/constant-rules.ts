import { listRules, readRule } from '../../netlink/nftables.ts';
import { changesBy, generationOf } from '../../netlink/nft-transactions.ts';
import type { Table } from '../../netlink/nftables.ts';
import type { NetlinkSocket } from '../../netlink/socket.ts';

/**
 * Tables whose rules never change: a pod is an element of a map. Without the rules the elements mean nothing, so that CHECK counts the rules as
 * well, and what makes a pod's elements again makes the rules again.
 */

/** How many rules a chain has, by its name. */
export type ConstantRules = ReadonlyMap<string, number>;

/** @param rules of a table, each beginning with its chain */
export function countRules(rules: readonly (readonly [chain: string, ...expressions: readonly Buffer[]])[]): ConstantRules {
  const counts = new Map<string, number>();
  for (const [chain] of rules) counts.set(chain, (counts.get(chain) ?? 0) + 1);
  return counts;
}

interface Looked {
  /** Of the kernel's rules, when they were listed. */
  generation: number;
  /** What had been changed over this socket by then. */
  changes: number;
  /** By table. */
  readonly counts: Map<string, ConstantRules>;
  /** Tables that lacked rules when they were last looked at. */
  readonly lacking: Set<string>;
}

/** What was seen over a socket: nothing is listed twice while nobody else changes the kernel's rules. */
const looked = new WeakMap<NetlinkSocket, Looked>();

const nameOf = ({ family, name }: Table): string => `${family} ${name}`;

function lookedBy(filter: NetlinkSocket): Looked {
  const found = looked.get(filter) ?? { generation: -1, changes: 0, counts: new Map<string, ConstantRules>(), lacking: new Set<string>() };
  looked.set(filter, found);
  return found;
}

/** As they were listed once, where all that has changed since was changed over this socket: that takes no rule which is constant. */
function listedCounts(filter: NetlinkSocket, table: Table): ConstantRules | undefined {
  const seen = lookedBy(filter);
  const [generation, changes] = [generationOf(filter), changesBy(filter)];
  if (generation - seen.generation !== changes - seen.changes) seen.counts.clear();
  Object.assign(seen, { generation, changes });
  return seen.counts.get(nameOf(table));
}

function listCounts(filter: NetlinkSocket, table: Table): ConstantRules {
  const counts = countRules(filter.dump(listRules(table)).map((message) => [readRule(message).chain]));
  lookedBy(filter).counts.set(nameOf(table), counts);
  return counts;
}

const lackingIn = (constant: ConstantRules, counts: ConstantRules): string[] =>
  [...constant].filter(([chain, rules]) => (counts.get(chain) ?? 0) < rules).map(([chain]) => chain);

/** What a table lacks of its rules, in words. A table that is gone lacks all. */
export function missingRules(filter: NetlinkSocket, table: Table, constant: ConstantRules): string[] {
  const listed = listedCounts(filter, table);
  // A chain that was made since is not among those listed.
  if (listed !== undefined && lackingIn(constant, listed).length === 0) return [];
  const lacking = lackingIn(constant, listCounts(filter, table));
  if (lacking.length === 0) return [];
  lookedBy(filter).lacking.add(nameOf(table));
  return [`nf_tables has not the rules of ${lacking.join(', ')} in the table ${nameOf(table)}`];
}

/** Whether rules were missing when CHECK or a repair last looked; asked once, for who makes them again. */
export const lackedRules = (filter: NetlinkSocket, table: Table): boolean => lookedBy(filter).lacking.delete(nameOf(table));
