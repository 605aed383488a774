import {
  addElements,
  deleteChain,
  deleteElements,
  getChain,
  getElement,
  getTable,
  isRefusal,
  readChainUse,
  tolerating,
  transact,
} from '../../../base/netlink/index.ts';
import type { Element, Table, NetlinkSocket } from '../../../base/netlink/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import { lackedRules, missingRules } from '../../constant-rules/constant-rules.ts';
import { constantRules, createTable } from './rules.ts';
import { tableOf } from './tables.ts';
import type { SharedChain } from './tables.ts';

/** Adds, looks up and removes elements of the plugins' tables. */
export interface MapElement {
  readonly family: IpFamily;
  readonly map: string;
  readonly element: Element;
  /** Description for CHECK. */
  readonly what: string;
}

/**
 * Adds all elements of one family in one transaction. Missing tables and chains are created.
 * @returns whether the table was missing, and with it the elements of other pods
 */
export function putElements(
  filter: NetlinkSocket,
  family: IpFamily,
  elements: readonly MapElement[],
  chains: readonly SharedChain[],
): boolean {
  if (elements.length === 0) return false;
  const table = tableOf(family);
  const wanted = elements.flatMap(({ map, element }) => addElements(table, map, [element]));
  const lacking = lackedRules(filter, table);
  // Looked up first, because a refused transaction costs a grace period of the kernel (10 ms and more).
  const missingChains = lacking
    ? chains
    : chains.filter(({ name }) => useOf(filter, table, name) === undefined);
  const missing = (lacking || missingChains.length > 0) && !stands(filter, family);
  const transaction = [
    ...(missing || lacking ? createTable(family) : []),
    ...missingChains.flatMap(({ requests }) => requests),
    ...wanted,
  ];
  try {
    transact(filter, transaction);
    return missing;
  } catch (thrown) {
    if (isRefusal(thrown, 'ENOENT') && !missing) {
      const isGone = !stands(filter, family);
      // A table that an older version created lacks maps.
      transact(filter, [...createTable(family), ...chains.flatMap(({ requests }) => requests), ...wanted]);
      return isGone;
    }
    if (!isRefusal(thrown, 'EEXIST')) throw thrown;
    // The key has another value. The database has assigned the key to us, so the value is left from a former
    // holder.
    takeElements(filter, family, elements, []);
    transact(filter, transaction);
    return missing;
  }
}

/**
 * Returns the kernel's use count of the chain: its rules and the references to it. Undefined when there is no
 * such chain.
 */
function useOf(filter: NetlinkSocket, table: Table, chain: string): number | undefined {
  const answer = filter.find(getChain(table, chain), 'ENOENT');
  return answer === undefined ? undefined : readChainUse(answer);
}

export function stands(filter: NetlinkSocket, family: IpFamily): boolean {
  return filter.find(getTable(tableOf(family)), 'ENOENT') !== undefined;
}

/** Removes elements. Succeeds when they are already gone. A chain that other pods use stays. */
export function takeElements(
  filter: NetlinkSocket,
  family: IpFamily,
  elements: readonly MapElement[],
  chains: readonly SharedChain[],
): void {
  const table = tableOf(family);
  const gone = (elements.length === 0 ? [] : [elements]).concat(elements.map((each) => [each]));
  for (const batch of gone) {
    try {
      transact(
        filter,
        batch.flatMap(({ map, element: { key } }) => deleteElements(table, map, [{ key }])),
      );
      if (batch === elements) break;
    } catch (thrown) {
      if (!isRefusal(thrown, 'ENOENT')) throw thrown;
    }
  }
  for (const { name, rules } of chains) {
    // Checked first, because a refused transaction takes long.
    if (useOf(filter, table, name) !== rules) continue;
    tolerating(['ENOENT', 'EBUSY'], () => transact(filter, [deleteChain(table, name)]));
  }
}

/**
 * Describes what is missing: elements, and the rules without which they have no effect.
 * @param chains the chains to which the elements lead
 */
export function missingElements(
  filter: NetlinkSocket,
  family: IpFamily,
  elements: readonly MapElement[],
  chains: readonly SharedChain[],
): string[] {
  if (elements.length === 0) return [];
  const constant = new Map([
    ...constantRules[family],
    ...chains.map(({ name, rules }) => [name, rules] as const),
  ]);
  return [...missingRules(filter, tableOf(family), constant), ...missingIn(filter, elements)];
}

function missingIn(filter: NetlinkSocket, elements: readonly MapElement[]): string[] {
  return filter
    .exchange(elements.map(({ family, map, element }) => getElement(tableOf(family), map, element)))
    .flatMap(({ refused }, index) => {
      if (refused === undefined) return [];
      if (refused.errno !== 'ENOENT') throw refused.error();
      return [`nf_tables has no ${elements[index]?.what ?? ''}`];
    });
}
