import { connection, counter, register, verdict, verdictOf } from '../../../base/netlink/index.ts';
import type { Element, NamedSet } from '../../../base/netlink/index.ts';
import { conditionsOf } from './conditions.ts';
import type { Conditioned, Direction, JudgedBy, PeerSet } from './conditions.ts';
import type { Grant } from './grants.ts';
import type { PolicyRule } from './tables.ts';

/**
 * The chains of one layer of a pod's rules. All rules of a layer grant, so their order does not matter: the
 * rules of single ports are in chains that a map finds by the protocol and port of a connection. A packet
 * passes the rules of its port, and then those of port ranges and of any port. Pure.
 */

/** One layer of rules that must grant a connection, with the texts for a denial. */
export interface Layer {
  readonly grants: readonly Grant[];
  /** Comment of the rule that denies what no grant of the layer allows. */
  readonly denies: string;
  /** Why objects that cannot be understood isolate the pod. */
  readonly unreadable?: readonly string[];
}

export interface NamedChain {
  readonly name: string;
  readonly rules: readonly PolicyRule[];
}

export interface LayerChains {
  /** The first one has the name of the layer. */
  readonly chains: readonly NamedChain[];
  /** Elements of {@link portMap}. */
  readonly elements: readonly (readonly [map: string, element: Element])[];
}

/** Fewer rules of single ports are not looked up: passing them costs as much as the lookup. */
export const fewestLookedUp = 16;
/**
 * Ports share chains beyond this number. Each chain of a pod costs the kernel memory, and time to validate at
 * each change.
 */
export const mostPortChains = 64;

/** Names of the chains and the map of a layer, from the name of its first chain. */
export const otherChain = (chain: string): string => `${chain}_others`;
export const portMap = (chain: string): string => `${chain}_ports`;
const portChain = (chain: string, index: number): string => `${chain}_port_${index}`;
/** Returns whether the map may lead to the chain. */
export const isPortChain = (chain: string, name: string): boolean =>
  name.startsWith(portChain(chain, 0).slice(0, -1)) && /_[0-9]+$/u.test(name);

/**
 * Returns the chains of a layer. Granted packets go on to the chain `next`, or return to the judgement. All
 * others are counted and dropped.
 * @param sets gets the sets that the rules use
 */
export function layerChains(
  chain: string,
  direction: Direction,
  { grants, denies }: Layer,
  {
    next,
    sets,
    by,
  }: { readonly next?: string | undefined; readonly sets: Map<string, PeerSet>; readonly by: JudgedBy },
): LayerChains {
  const granted = verdict(next === undefined ? 'return' : { goto: next });
  const rules = grants.flatMap((grant) =>
    conditionsOf(grant, direction, sets, by).map((condition) => ({ ...condition, name: grant.name })),
  );
  const toRule =
    (inChain: string) =>
    ({ expressions, name }: Conditioned & { readonly name: string }): PolicyRule => ({
      chain: inChain,
      expressions: [...expressions, granted],
      ...(name === '' ? {} : { comment: name }),
    });
  const denial = (inChain: string): PolicyRule => ({
    chain: inChain,
    expressions: [counter(), verdict('drop')],
    comment: denies,
  });
  const [single, others] = partition(rules, ({ lookup }) => lookup !== undefined);
  if (single.length < fewestLookedUp)
    return { chains: [{ name: chain, rules: [...rules.map(toRule(chain)), denial(chain)] }], elements: [] };

  const rest = otherChain(chain);
  const goOn = (inChain: string): PolicyRule => ({ chain: inChain, expressions: [verdict({ goto: rest })] });
  const byPort = Map.groupBy(single, ({ lookup }) => lookup?.toString('hex') ?? '');
  const count = Math.min(byPort.size, mostPortChains);
  const found = [...byPort.values()].map((those, at) => ({ those, name: portChain(chain, at % count) }));
  const map: NamedSet = { name: portMap(chain), key: ['inet_proto', 'inet_service'], data: 'verdict' };
  sets.set(map.name, { set: map, elements: [] });
  return {
    chains: [
      { name: chain, rules: [{ chain, expressions: lookUpPort(map.name) }, goOn(chain)] },
      ...[...Map.groupBy(found, ({ name }) => name)].map(([name, shared]) => ({
        name,
        rules: [...shared.flatMap(({ those }) => those).map(toRule(name)), goOn(name)],
      })),
      { name: rest, rules: [...others.map(toRule(rest)), denial(rest)] },
    ],
    elements: found.flatMap(({ those: [first], name }) =>
      first?.lookup === undefined ? [] : [[map.name, { key: first.lookup, value: { goto: name } }] as const],
    ),
  };
}

/** Looks up the responder's port, after translation. ICMP has none: its packets find no element. */
const lookUpPort = (map: string): Buffer[] => [
  connection('protocol', 'original', register(0)),
  connection('portFrom', 'reply', register(1)),
  verdictOf(map, register(0)),
];

function partition<Value>(
  values: readonly Value[],
  isFirst: (value: Value) => boolean,
): [first: Value[], others: Value[]] {
  const { first = [], others = [] } = Object.groupBy(values, (value) =>
    isFirst(value) ? 'first' : 'others',
  );
  return [first, others];
}
