import {
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  attributesOf,
  deleteTable,
  getChain,
  getElement,
  getTable,
  listElements,
  listRules,
  readListedElements,
  readListedRule,
  readRuleComment,
  textOf,
  u32,
} from '../../../base/netlink/index.ts';
import type { Table, NetlinkSocket, Request, Received } from '../../../base/netlink/index.ts';
import { createHash } from 'node:crypto';
import { formatIp, ipFromBytes } from '../../../base/addresses/index.ts';
import { giveMemoryBack } from '../model/memory.ts';
import type { Family } from '../model/model.ts';
import { emptyModes, isEmptyMode } from './empty-modes.ts';
import {
  baseChains,
  baseRulesOf,
  chainOf,
  chainsOf,
  modeMap,
  modeOf,
  modeRulesOf,
  protocolKeys,
  setsOf,
  slotMap,
  slotSetOf,
  tableOf,
} from './rules.ts';
import { usualSlots } from '../slots/sizes.ts';
import type { ChainRule, Mode } from './rules.ts';

/** Our table as the kernel holds it, and the requests that create it. */

/**
 * The comment of a rule is a digest of its content, so that a rule that another program changed or added is
 * detected.
 */
function commentOf({ expressions }: ChainRule): string {
  return createHash('sha256').update(Buffer.concat(expressions)).digest('hex').slice(0, 16);
}

const lineOf = (rule: ChainRule): string => `${rule.chain} ${commentOf(rule)}`;

const ruleRequest = (table: Table, rule: ChainRule): Request =>
  addRule(table, rule.chain, rule.expressions, commentOf(rule));

/** Creates the table without any service. */
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
    ...addElements(
      table,
      'modes',
      [...emptyModes].map(([number, chain]) => ({ key: u32(number), value: { goto: chain } })),
    ),
  ];
}

/** Succeeds whether or not the table exists. */
export const dropTable = (family: Family): Request[] => [
  addTable(tableOf(family)),
  deleteTable(tableOf(family)),
];

/** No set of {@link createTable} has this number, which a batch uses once. */
const lateSetId = 1000;

export function makeMode(family: Family, number: number, mode: Mode): Request[] {
  const table = tableOf(family);
  return [
    // An earlier version created a table without this map. The kernel accepts a map that exists already.
    ...(mode.size > usualSlots ? [addSet(table, slotSetOf(family, mode.size), lateSetId)] : []),
    ...chainsOf(mode).map((name) => addChain(table, { name })),
    ...modeRulesOf(family, mode).map((rule) => ruleRequest(table, rule)),
    ...addElements(table, modeMap(mode), [{ key: u32(number), value: { goto: chainOf(mode) } }]),
  ];
}

/**
 * Returns the existing modes by their numbers. Undefined: the constant part is incomplete, or contains
 * foreign objects.
 */
export function standingModes(
  filter: NetlinkSocket,
  family: Family,
): (readonly [number: number, mode: Mode])[] | undefined {
  const table = tableOf(family);
  if (filter.find(getTable(table), 'ENOENT') === undefined) return undefined;
  const rules = filter.dump(listRules(table));
  const found = rules.map((message) => `${readListedRule(message).chain} ${readRuleComment(message)}`);
  const base = baseRulesOf(family).map(lineOf);
  // A table of an earlier version may lack a map.
  const lines = new Set(found);
  if (!base.every((line) => lines.has(line))) return undefined;
  const modes: (readonly [number, Mode])[] = [];
  const missing = new Set(emptyModes.keys());
  const listed = ['modes', 'inside_modes'].flatMap((map) => filter.dump(listElements(table, map)));
  for (const { key, verdict } of listed.flatMap(readListedElements)) {
    const chain =
      verdict !== undefined && typeof verdict === 'object' && 'goto' in verdict ? verdict.goto : '';
    const number = key.readUInt32LE(0);
    const mode = modeOf(chain);
    if (mode !== undefined && !isEmptyMode(number)) modes.push([number, mode]);
    else if (emptyModes.get(number) !== chain) return undefined;
    missing.delete(number);
  }
  if (missing.size > 0) return undefined;
  const wanted = [...base, ...modes.flatMap(([, mode]) => modeRulesOf(family, mode).map(lineOf))].toSorted();
  found.sort();
  return wanted.length === found.length && wanted.every((line, index) => line === found[index])
    ? modes
    : undefined;
}

/** An element of a map from keys to marks, or of a set. It keeps no reference to the kernel's message. */
export interface Listed {
  /** The mark. */
  readonly value?: number;
  readonly comment?: string;
}

/**
 * By key, as latin1 text. Not for slots: the kernel walks a set from its start for each 32 KiB of the answer.
 */
export function listMap(filter: NetlinkSocket, family: Family, set: string): Map<string, Listed> {
  const found = new Map<string, Listed>();
  for (const message of filter.dump(listElements(tableOf(family), set))) {
    giveMemoryBack();
    for (const element of listed(attributesOf(message.body, 4).get(3))) {
      const fields = attributesOf(element);
      const key = attributesOf(fields.get(1) ?? none).get(1);
      const value = attributesOf(fields.get(2) ?? none).get(1);
      const comment = fields.get(6);
      if (key !== undefined)
        found.set(key.toString('latin1'), {
          ...(value !== undefined && { value: value.readUInt32LE(0) }),
          ...(comment !== undefined && { comment: textOf(comment.subarray(2)) }),
        });
    }
  }
  return found;
}

const none = Buffer.alloc(0);

/** Returns the attributes of a list. All of them have one type. */
function listed(list: Buffer = none): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at + 4 <= list.length;) {
    const length = list.readUInt16LE(at);
    if (length < 4 || at + length > list.length) break;
    found.push(list.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

/** Returns the names in the slots of one server, up to the first missing slot. @param key the server's key */
export function readSlots(filter: NetlinkSocket, family: Family, key: Buffer, size: number): string[] {
  const names: string[] = [];
  const answers = filter.exchange(
    Array.from({ length: size }, (_, slot) =>
      getElement(tableOf(family), slotMap(size), { key: Buffer.concat([key, u32(slot)]) }),
    ),
  );
  for (const { answers: found } of answers) {
    const element = listed(attributesOf(found[0]?.body ?? Buffer.alloc(4), 4).get(3))[0];
    const value = attributesOf(attributesOf(element ?? none).get(2) ?? none).get(1);
    if (value === undefined) return names;
    const width = value.length - 4;
    names.push(`${formatIp(ipFromBytes(value.subarray(0, width)))} ${value.readUInt16BE(width)}`);
  }
  return names;
}

/** Returns whether each of these servers has a first slot. */
export function haveSlots(
  filter: NetlinkSocket,
  family: Family,
  servers: Iterable<{ readonly key: Buffer; readonly size: number }>,
): boolean {
  const atOnce = 250;
  let asked: Request[] = [];
  const stand = (): boolean => {
    const answers = filter.exchange(asked);
    asked = [];
    return answers.every(({ refused }) => refused === undefined);
  };
  for (const { key, size } of servers) {
    const first = getElement(tableOf(family), slotMap(size), { key: Buffer.concat([key, u32(0)]) });
    if (asked.push(first) === atOnce && !stand()) return false;
  }
  return stand();
}

/**
 * Returns a shape of the constant part that changes when another program changes it. Cheap enough for a check
 * each second.
 */
export function shapeOf(filter: NetlinkSocket, family: Family, modes: readonly Mode[]): string {
  const table = tableOf(family);
  const chains = [...baseChains.map(({ name }) => name), ...modes.flatMap(chainsOf)];
  const said = (
    { answers }: { readonly answers: readonly Received[] },
    ...numbers: readonly number[]
  ): string => {
    const attributes = attributesOf(answers[0]?.body ?? Buffer.alloc(4), 4);
    return numbers.map((number) => attributes.get(number)?.toString('hex') ?? 'none').join(' ');
  };
  const [[own], rest] = [
    filter.exchange([getTable(table)]),
    filter.exchange(chains.map((chain) => getChain(table, chain))),
  ];
  return [own === undefined ? 'none' : said(own, 3, 4), ...rest.map((chain) => said(chain, 2, 6))].join(', ');
}
