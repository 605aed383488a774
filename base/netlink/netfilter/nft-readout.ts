import { attributesOf, elementsOf, textOf } from '../protocol/wire.ts';
import type { Attributes, Received } from '../protocol/wire.ts';
import type { Verdict } from './nftables.ts';

/**
 * Reads nf_tables as the kernel lists it: verdicts of maps, expressions of rules. Pure. Source:
 * linux/netfilter/nf_tables.h.
 */

const nfgenmsgLength = 4;
const NFTA_SET_ELEM_INTERVAL_END = 1;
const NFTA_RULE_USERDATA = 7;
/** Verdicts by their numbers: include/uapi/linux/netfilter.h and nf_tables.h, enum nft_verdicts. */
const verdicts: ReadonlyMap<number, Verdict | 'jump' | 'goto'> = new Map<number, Verdict | 'jump' | 'goto'>([
  [0, 'drop'],
  [1, 'accept'],
  [-3, 'jump'],
  [-4, 'goto'],
  [-5, 'return'],
]);

/** An element with its mapped value. `end`: in an interval set, the key is the first after the interval. */
export interface ListedElement {
  readonly key: Buffer;
  readonly verdict?: Verdict;
  /** The value of an element of a map without verdicts. */
  readonly value?: Buffer;
  readonly end: boolean;
}

/**
 * Reads an answer to `getChain`: returns how many rules the chain has plus how many rules and maps lead to
 * it.
 */
export function readChainUse(message: Received): number {
  return attributesOf(message.body, nfgenmsgLength).get(6)?.readUInt32BE(0) ?? 0;
}

/** Reads a message of `listElements`. */
export function readListedElements(message: Received): ListedElement[] {
  return elementsOf(attributesOf(message.body, nfgenmsgLength).get(3)).flatMap((element) => {
    const fields = attributesOf(element);
    const key = inner(fields.get(1)).get(1);
    const verdict = readVerdict(inner(fields.get(2)).get(2));
    const value = inner(fields.get(2)).get(1);
    const flags = fields.get(3)?.readUInt32BE(0) ?? 0;
    const end = (flags & NFTA_SET_ELEM_INTERVAL_END) !== 0;
    return key === undefined
      ? []
      : [{ key, ...(verdict !== undefined && { verdict }), ...(value !== undefined && { value }), end }];
  });
}

/** One expression of a rule: its name and its attributes by number. */
export interface ListedExpression {
  readonly name: string;
  readonly attributes: Attributes;
}

export interface ListedRule {
  readonly chain: string;
  readonly expressions: readonly ListedExpression[];
}

/** Reads a message of `listRules`. */
export function readListedRule(message: Received): ListedRule {
  const attributes = attributesOf(message.body, nfgenmsgLength);
  return {
    chain: textOf(attributes.get(2)),
    expressions: elementsOf(attributes.get(4)).map((expression) => {
      const fields = attributesOf(expression);
      return { name: textOf(fields.get(1)), attributes: inner(fields.get(2)) };
    }),
  };
}

/** Returns the comment of a listed rule, as `addRule` wrote it. Empty: it has none. */
export function readRuleComment(message: Received): string {
  const data = attributesOf(message.body, nfgenmsgLength).get(NFTA_RULE_USERDATA);
  return data === undefined ? '' : textOf(data.subarray(2));
}

/** Returns the verdict of an `immediate`, or undefined if it loads a constant. */
export function verdictIn({ attributes }: ListedExpression): Verdict | undefined {
  return readVerdict(inner(attributes.get(2)).get(2));
}

/** Returns the constant with which a `cmp` compares. */
export function constantIn({ attributes }: ListedExpression): Buffer {
  return inner(attributes.get(3)).get(1) ?? Buffer.alloc(0);
}

/** Returns a number of an expression: register, key, operator. */
export function numberIn({ attributes }: ListedExpression, attribute: number): number | undefined {
  const value = attributes.get(attribute);
  return value?.length === 4 ? value.readUInt32BE(0) : value?.[0];
}

function readVerdict(data: Buffer | undefined): Verdict | undefined {
  if (data === undefined) return undefined;
  const fields = attributesOf(data);
  const found = verdicts.get(fields.get(1)?.readInt32BE(0) ?? NaN);
  const chain = textOf(fields.get(2));
  return found === 'jump' ? { jump: chain } : found === 'goto' ? { goto: chain } : found;
}

const inner = (value: Buffer = Buffer.alloc(0)): Attributes => attributesOf(value);
