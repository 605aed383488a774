import { append } from '../../../base/lists/index.ts';
import { verdictIn } from '../../../base/netlink/index.ts';
import type { ListedElement, ListedExpression, ListedRule, Verdict } from '../../../base/netlink/index.ts';
import { otherChain, isPortChain, portMap } from './layer-chains.ts';

/** Reads the chains of a layer from the kernel's listing: the inverse of layer-chains.ts. Pure. */

/** The rules and set elements that the kernel lists for the policy table. */
export interface ListedTable {
  readonly rules: (chain: string) => readonly ListedRule[];
  readonly elements: (set: string) => readonly ListedElement[];
}

/** A layer as the kernel has it. Its chains lead a connection to each of its rules that can match. */
export interface ListedLayer {
  /** Rules that grant or deny. Those that only lead to other chains of the layer are left out. */
  readonly rules: readonly ListedRule[];
  /** Returns whether connections with this key of the map reach the rule; the map leads to its chain. */
  readonly isReached: (rule: ListedRule, key: Buffer) => boolean;
}

/** @returns undefined when layer-chains.ts does not make such chains; without rules when there is no layer */
export function listLayer(chain: string, { rules, elements }: ListedTable): ListedLayer | undefined {
  const first = rules(chain);
  const map = portMap(chain);
  const [lookup, after, ...more] = first;
  if (lookup === undefined || setOf(lookup.expressions.at(-1)) !== map)
    return { rules: first, isReached: () => true };

  const rest = otherChain(chain);
  const leadsOn = (rule: ListedRule | undefined): boolean =>
    rule?.expressions.length === 1 && isTo(verdictAtEnd(rule.expressions), rest);
  if (lookup.expressions.map(({ name }) => name).join(' ') !== 'ct ct lookup') return undefined;
  if (more.length > 0 || !leadsOn(after)) return undefined;

  const targets = new Map<string, string>();
  for (const { key, verdict } of elements(map)) {
    if (typeof verdict !== 'object' || !('goto' in verdict)) return undefined;
    if (!isPortChain(chain, verdict.goto)) return undefined;
    targets.set(key.toString('hex'), verdict.goto);
  }
  const found = [...rules(rest)];
  for (const name of new Set(targets.values())) {
    const ofPorts = rules(name);
    if (!leadsOn(ofPorts.at(-1))) return undefined;
    append(found, ofPorts.slice(0, -1));
  }
  return {
    rules: found,
    isReached: (rule, key) => rule.chain === rest || targets.get(key.toString('hex')) === rule.chain,
  };
}

export function verdictAtEnd(expressions: readonly ListedExpression[]): Verdict | undefined {
  const last = expressions.at(-1);
  return last === undefined ? undefined : verdictIn(last);
}

/** Returns the set of a lookup. */
export function setOf(expression: ListedExpression | undefined): string | undefined {
  if (expression?.name !== 'lookup') return undefined;
  return expression.attributes.get(1)?.toString('latin1').replace(/\0.*$/u, '') ?? '';
}

const isTo = (verdict: Verdict | undefined, chain: string): boolean =>
  typeof verdict === 'object' && 'goto' in verdict && verdict.goto === chain;
