import { listRules, readRule, changesBy, generationOf } from '../../base/netlink/index.ts';
import type { Table, NetlinkSocket } from '../../base/netlink/index.ts';

/**
 * Tables whose rules never change: a pod is an element of a map. The elements have no effect without the
 * rules, so CHECK counts the rules as well, and recreating a pod's elements also recreates the rules.
 */

/** Number of rules by chain name. */
export type ConstantRules = ReadonlyMap<string, number>;

/** @param rules rules of a table, each beginning with its chain */
export function countRules(
  rules: readonly (readonly [chain: string, ...expressions: readonly Buffer[]])[],
): ConstantRules {
  const counts = new Map<string, number>();
  for (const [chain] of rules) counts.set(chain, (counts.get(chain) ?? 0) + 1);
  return counts;
}

interface Looked {
  /** Generation of the kernel's rules when they were listed. */
  generation: number;
  /** Number of changes over this socket at that time. */
  changes: number;
  /** Counts by table. */
  readonly counts: Map<string, ConstantRules>;
  /** Tables that lacked rules at the last check. */
  readonly lacking: Set<string>;
}

/** Results by socket: nothing is listed twice while no other program changes the kernel's rules. */
const looked = new WeakMap<NetlinkSocket, Looked>();

const nameOf = ({ family, name }: Table): string => `${family} ${name}`;

function lookedBy(filter: NetlinkSocket): Looked {
  const found = looked.get(filter) ?? {
    generation: -1,
    changes: 0,
    counts: new Map<string, ConstantRules>(),
    lacking: new Set<string>(),
  };
  looked.set(filter, found);
  return found;
}

/** Returns the earlier listing if all later changes went over this socket: those remove no constant rule. */
function listedCounts(filter: NetlinkSocket, table: Table): ConstantRules | undefined {
  const seen = lookedBy(filter);
  const [generation, changes] = [generationOf(filter), changesBy(filter)];
  if (generation - seen.generation !== changes - seen.changes) seen.counts.clear();
  Object.assign(seen, { generation, changes });
  return seen.counts.get(nameOf(table));
}

const manyRules = 4096;

/** Returns whether a table with these rules takes less time to list chain by chain than as a whole. */
export const areMany = (rules: ConstantRules): boolean =>
  [...rules.values()].reduce((sum, count) => sum + count, 0) >= manyRules;

const listChains = (filter: NetlinkSocket, table: Table, chains: Iterable<string>): [string, number][] =>
  [...chains].map((chain) => [chain, filter.dump(listRules(table, chain)).length]);

function listCounts(filter: NetlinkSocket, table: Table, constant: ConstantRules): ConstantRules {
  return areMany(constant)
    ? new Map(listChains(filter, table, constant.keys()))
    : countRules(filter.dump(listRules(table)).map((message) => [readRule(message).chain]));
}

const lackingIn = (constant: ConstantRules, counts: ConstantRules): string[] =>
  [...constant].filter(([chain, rules]) => (counts.get(chain) ?? 0) < rules).map(([chain]) => chain);

/** Describes the rules that a table lacks. A missing table lacks all rules. */
export function missingRules(filter: NetlinkSocket, table: Table, constant: ConstantRules): string[] {
  const listed = listedCounts(filter, table);
  // A chain that was created since is not in the listing.
  const unlisted = listed && lackingIn(constant, listed);
  if (unlisted?.length === 0) return [];
  const counts =
    listed === undefined || unlisted === undefined
      ? listCounts(filter, table, constant)
      : new Map([...listed, ...listChains(filter, table, unlisted)]);
  lookedBy(filter).counts.set(nameOf(table), counts);
  const lacking = lackingIn(constant, counts);
  if (lacking.length === 0) return [];
  lookedBy(filter).lacking.add(nameOf(table));
  return [`nf_tables lacks rules of ${lacking.join(', ')} in the table ${nameOf(table)}`];
}

/**
 * Returns whether rules were missing at the last CHECK or repair. Returns it once, for the caller that
 * recreates them.
 */
export const lackedRules = (filter: NetlinkSocket, table: Table): boolean =>
  lookedBy(filter).lacking.delete(nameOf(table));
