import { isRefusal } from '../../netlink/kernel-failure.ts';
import { addElements, deleteChain, deleteElements, getChain, getElement, getTable, readChainUse } from '../../netlink/nftables.ts';
import { transact } from '../../netlink/nft-transactions.ts';
import type { Element, Table } from '../../netlink/nftables.ts';
import type { NetlinkSocket } from '../../netlink/socket.ts';
import type { IpFamily } from '../../spec/address.ts';
import { lackedRules, missingRules } from '../interface/constant-rules.ts';
import { constantRules, createTable, tableOf } from './rules.ts';
import type { SubnetChain } from './rules.ts';

/** Elements of the plugins' tables, put, looked for and taken. */
export interface MapElement {
  readonly family: IpFamily;
  readonly map: string;
  readonly element: Element;
  /** In words, for CHECK. */
  readonly what: string;
}

/**
 * Puts all of one family in one transaction. The tables and chains are made when they are missing.
 * @returns whether the table was missing, and with it what other pods had in it
 */
export function putElements(
  filter: NetlinkSocket,
  family: IpFamily,
  elements: readonly MapElement[],
  chains: readonly SubnetChain[],
): boolean {
  if (elements.length === 0) return false;
  const table = tableOf(family);
  const wanted = elements.flatMap(({ map, element }) => addElements(table, map, [element]));
  const lacking = lackedRules(filter, table);
  // Looked up first: a transaction that is refused costs a grace period of the kernel (10 ms and more).
  const missingChains = lacking ? chains : chains.filter(({ name }) => useOf(filter, table, name) === undefined);
  const missing = (lacking || missingChains.length > 0) && !stands(filter, family);
  const transaction = [...(missing || lacking ? createTable(family) : []), ...missingChains.flatMap(({ requests }) => requests), ...wanted];
  try {
    transact(filter, transaction);
    return missing;
  } catch (thrown) {
    if (isRefusal(thrown, 'ENOENT') && !missing && !stands(filter, family)) {
      transact(filter, [...createTable(family), ...chains.flatMap(({ requests }) => requests), ...wanted]);
      return true;
    }
    if (!isRefusal(thrown, 'EEXIST')) throw thrown;
    // Another value stands under the key. The database has given it to us, so it is what was left of a former holder.
    takeElements(filter, family, elements, []);
    transact(filter, transaction);
    return missing;
  }
}

/** What the kernel counts as uses of the chain: its rules and what leads to it; undefined when there is no such chain. */
function useOf(filter: NetlinkSocket, table: Table, chain: string): number | undefined {
  const answer = filter.find(getChain(table, chain), 'ENOENT');
  return answer === undefined ? undefined : readChainUse(answer);
}

export function stands(filter: NetlinkSocket, family: IpFamily): boolean {
  return filter.find(getTable(tableOf(family)), 'ENOENT') !== undefined;
}

/** Success when they are gone already. A chain that other pods use stays. */
export function takeElements(
  filter: NetlinkSocket,
  family: IpFamily,
  elements: readonly MapElement[],
  chains: readonly SubnetChain[],
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
    // Asked first: a refused transaction takes long.
    if (useOf(filter, table, name) !== rules) continue;
    try {
      transact(filter, [deleteChain(table, name)]);
    } catch (thrown) {
      if (!isRefusal(thrown, 'ENOENT', 'EBUSY')) throw thrown;
    }
  }
}

/** What is missing, in words: elements, and rules without which they mean nothing. @param chains those that the elements lead to */
export function missingElements(
  filter: NetlinkSocket,
  family: IpFamily,
  elements: readonly MapElement[],
  chains: readonly SubnetChain[],
): string[] {
  if (elements.length === 0) return [];
  const constant = new Map([...constantRules[family], ...chains.map(({ name, rules }) => [name, rules] as const)]);
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
