import {
  addElements,
  addChain,
  addRule,
  addSet,
  addTable,
  deleteTable,
  getChain,
  getTable,
  listElements,
  listRules,
} from '../../netlink/nftables.ts';
import type { Table } from '../../netlink/nftables.ts';
import { readListedElements, readListedRule } from '../../netlink/nft-readout.ts';
import type { NetlinkSocket, Request } from '../../netlink/socket.ts';
import { attributesOf, textOf } from '../../netlink/wire.ts';
import type { Received } from '../../netlink/wire.ts';
import { createHash } from 'node:crypto';
import type { Family } from '../model.ts';
import { refuseMode } from './modes.ts';
import { baseChains, baseRulesOf, chainOf, chainsOf, modeOf, modeRulesOf, protocolKeys, refuseChain, setsOf, tableOf } from './rules.ts';
import type { ChainRule, Mode } from './rules.ts';

/** Our table as the kernel holds it, and the requests that make it. */

const host32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** A rule says in its comment what it is made of: one that was changed or put in by others shows. */
function commentOf({ expressions }: ChainRule): string {
  return createHash('sha256').update(Buffer.concat(expressions)).digest('hex').slice(0, 16);
}

const ruleRequest = (table: Table, rule: ChainRule): Request => addRule(table, rule.chain, rule.expressions, commentOf(rule));

/** With nothing served. */
export function createTable(family: Family): Request[] {
  const table = tableOf(family);
  return [
    addTable(table),
    deleteTable(table),
    addTable(table),
    ...baseChains.map((chain) => addChain(table, chain)),
    ...setsOf(family).map((set, index) => addSet(table, set, index + 1)),
    ...baseRulesOf(family).map((rule) => ruleRequest(table, rule)),
    ...addElements(
      table,
      'protocols',
      protocolKeys.map((key) => ({ key })),
    ),
    ...addElements(table, 'modes', [{ key: host32(refuseMode), value: { goto: refuseChain } }]),
  ];
}

/** Success whether it stands or not. */
export const dropTable = (family: Family): Request[] => [addTable(tableOf(family)), deleteTable(tableOf(family))];

export function makeMode(family: Family, number: number, mode: Mode): Request[] {
  const table = tableOf(family);
  return [
    ...chainsOf(mode).map((name) => addChain(table, { name })),
    ...modeRulesOf(family, mode).map((rule) => ruleRequest(table, rule)),
    ...addElements(table, 'modes', [{ key: host32(number), value: { goto: chainOf(mode) } }]),
  ];
}

/** What stands of the constant part: the modes by their numbers; undefined: it is not whole, or not ours alone. */
export function standingModes(filter: NetlinkSocket, family: Family): (readonly [number: number, mode: Mode])[] | undefined {
  const table = tableOf(family);
  if (filter.find(getTable(table), 'ENOENT') === undefined) return undefined;
  const rules = filter.dump(listRules(table));
  const modes: (readonly [number, Mode])[] = [];
  for (const { key, verdict } of filter.dump(listElements(table, 'modes')).flatMap(readListedElements)) {
    const chain = verdict !== undefined && typeof verdict === 'object' && 'goto' in verdict ? verdict.goto : '';
    const number = key.readUInt32LE(0);
    const mode = modeOf(chain);
    if (mode !== undefined && number !== refuseMode) modes.push([number, mode]);
    else if (number !== refuseMode || chain !== refuseChain) return undefined;
  }
  const wanted = [...baseRulesOf(family), ...modes.flatMap(([, mode]) => modeRulesOf(family, mode))];
  const expected = wanted.map((rule) => `${rule.chain} ${commentOf(rule)}`).toSorted();
  const found = rules.map((message) => `${readListedRule(message).chain} ${commentIn(message)}`).toSorted();
  return expected.length === found.length && expected.every((line, index) => line === found[index]) ? modes : undefined;
}

function commentIn(message: Received): string {
  const data = attributesOf(message.body, 4).get(7);
  return data === undefined ? '' : textOf(data.subarray(2));
}

/** Keys as latin1 text with their values; undefined values: a plain set. */
export function listMap(filter: NetlinkSocket, family: Family, set: string): Map<string, Buffer | undefined> {
  const found = new Map<string, Buffer | undefined>();
  for (const message of filter.dump(listElements(tableOf(family), set))) {
    const list = attributesOf(message.body, 4).get(3);
    if (list !== undefined) readPlainElements(list, found);
  }
  return found;
}

const NLA_TYPE_MASK = 0x3fff;

/** NFTA_LIST_ELEM after NFTA_LIST_ELEM; of each the key (1) and the value (2), both in one NFTA_DATA_VALUE (1). By hand: there may be hundreds of thousands. */
function readPlainElements(list: Buffer, into: Map<string, Buffer | undefined>): void {
  for (let at = 0; at + 4 <= list.length;) {
    const end = at + list.readUInt16LE(at);
    if (end <= at + 4 || end > list.length) return;
    let key: string | undefined;
    let value: Buffer | undefined;
    for (let inner = at + 4; inner + 4 <= end;) {
      const length = list.readUInt16LE(inner);
      if (length < 4) return;
      const type = list.readUInt16LE(inner + 2) & NLA_TYPE_MASK;
      if (type === 1) key = list.toString('latin1', inner + 8, inner + length);
      else if (type === 2) value = list.subarray(inner + 8, inner + length);
      inner += (length + 3) & ~3;
    }
    if (key !== undefined) into.set(key, value);
    at = (end + 3) & ~3;
  }
}

/** A shape of the constant part that changes when another program changes it; for a look each second. */
export function shapeOf(filter: NetlinkSocket, family: Family, modes: readonly Mode[]): string {
  const table = tableOf(family);
  const chains = [...baseChains.map(({ name }) => name), ...modes.flatMap(chainsOf)];
  const said = ({ answers }: { readonly answers: readonly Received[] }, ...numbers: readonly number[]): string => {
    const attributes = attributesOf(answers[0]?.body ?? Buffer.alloc(4), 4);
    return numbers.map((number) => attributes.get(number)?.toString('hex') ?? 'none').join(' ');
  };
  const [[own], rest] = [filter.exchange([getTable(table)]), filter.exchange(chains.map((chain) => getChain(table, chain)))];
  return [own === undefined ? 'none' : said(own, 3, 4), ...rest.map((chain) => said(chain, 2, 6))].join(', ');
}

const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETGEN = 16;

/** A number that grows with every change of anything in nf_tables, by whomever. */
export function generation(filter: NetlinkSocket): number {
  const request: Request = {
    what: 'ask for the generation',
    on: 'nf_tables',
    type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN,
    flags: 0,
    body: Buffer.alloc(4),
  };
  return (
    attributesOf(filter.ask(request)[0]?.body ?? Buffer.alloc(4), 4)
      .get(1)
      ?.readUInt32BE(0) ?? 0
  );
}
