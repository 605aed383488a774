import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Answer, Probe } from './end.ts';
import { addressAt } from './layout.ts';
import type { Client } from './layout.ts';
import type { TestNode } from './nodes.ts';
import type { Random } from './objects.ts';
import type { ServiceTarget } from './targets.ts';

/** The answers that a client gets from a target. */
export interface Observation {
  /** Endpoints that answered, as `ADDRESS PORT`, `dropped`, or errnos. Sorted. */
  readonly outcomes: readonly string[];
  /** The source addresses that endpoints see: `client`, or addresses of the node. Sorted. */
  readonly sources: readonly string[];
  /** Whether each client that connected twice got the same endpoint twice. */
  readonly sticks: boolean;
}

export interface Question {
  readonly client: Client;
  readonly target: ServiceTarget;
}

export interface Difference {
  readonly question: Question;
  readonly reference: Observation;
  readonly ours: Observation;
  readonly kind: TestNode['kind'];
}

/**
 * A difference counts only if the last round has it: the first rounds are short, and a proxy may still be at
 * work. The number of connections makes it unlikely that an endpoint gets none of them.
 */
const rounds = [
  { pauseMs: 0, connections: 8, patienceMs: 500 },
  { pauseMs: 200, connections: 24, patienceMs: 1000 },
  { pauseMs: 1000, connections: 80, patienceMs: 2500 },
  { pauseMs: 3000, connections: 200, patienceMs: 6000 },
] as const;
const [{ connections: fewest }] = rounds;

function probeOf(
  { client, target }: Question,
  random: Random,
  { connections, patienceMs }: { readonly connections: number; readonly patienceMs: number },
): Probe {
  const { protocol, address, port } = target;
  const source = client.sources?.[address.includes(':') ? 1 : 0];
  const isAffine = target.service.spec.sessionAffinity === 'ClientIP';
  const one = (): string | undefined => (source === undefined ? undefined : addressAt(source, random()));
  // Twice by each client.
  const froms = isAffine
    ? Array.from({ length: connections / 2 }, one).flatMap((from) => [from, from])
    : Array.from({ length: connections }, one);
  return { protocol, address, port, patienceMs, froms };
}

/** Returns what the answers of one probe say. */
function observed({ target }: Question, { froms }: Probe, answers: readonly Answer[]): Observation {
  const [outcomes, sources] = [new Set<string>(), new Set<string>()];
  const endpointOf = new Map<string, string>();
  const isAffine = target.service.spec.sessionAffinity === 'ClientIP';
  let sticks = true;
  for (const [at, answer] of answers.entries()) {
    const [address, port, source = ''] = answer.split(' ');
    const from = froms[at];
    const outcome = port === undefined ? answer : `${address} ${port}`;
    outcomes.add(outcome);
    if (port !== undefined) sources.add(source === from ? 'client' : source);
    const before = endpointOf.get(from ?? '');
    if (isAffine && before !== undefined && before !== outcome) sticks = false;
    endpointOf.set(from ?? '', outcome);
  }
  return { outcomes: [...outcomes].toSorted(), sources: [...sources].toSorted(), sticks };
}

/** Whether the two mean the same to a client. */
function isSame({ client, target }: Question, reference: Observation, ours: Observation): boolean {
  const isAffine = target.service.spec.sessionAffinity === 'ClientIP';
  if (isAffine && reference.sticks !== ours.sticks) return false;
  const isServed = ({ sources }: Observation): boolean => sources.length > 0;
  // A client with one address gets one endpoint.
  if (isAffine && client.sources === undefined && isServed(reference) && isServed(ours))
    return reference.outcomes.length === ours.outcomes.length;
  return (
    isDeepStrictEqual(reference.outcomes, ours.outcomes) && isDeepStrictEqual(reference.sources, ours.sources)
  );
}

async function observe(
  node: TestNode,
  questions: readonly Question[],
  probes: readonly Probe[],
): Promise<Observation[]> {
  const found: Observation[] = [];
  const ends = Map.groupBy(questions.keys(), (at) => questions[at]!.client.end);
  await Promise.all(
    [...ends].map(async ([end, places]) => {
      const answers = await node.probe(
        end,
        places.map((at) => probes[at]!),
      );
      for (const [at, place] of places.entries())
        found[place] = observed(questions[place]!, probes[place]!, answers[at]!);
    }),
  );
  return found;
}

export interface Comparison {
  readonly differences: readonly Difference[];
  /** The reasons of expected differences. */
  readonly reasons: readonly string[];
  /** How many questions an endpoint of the first node answered. */
  readonly served: number;
}

/** Asks both nodes the same, again and again while they differ. */
export async function compare(
  reference: TestNode,
  ours: TestNode,
  questions: readonly Question[],
  random: Random,
  explained: (difference: Difference) => string | undefined,
): Promise<Comparison> {
  let open: readonly Question[] = questions;
  /** With several endpoints, a few connections do not find all of them. */
  let isServed: readonly boolean[] = questions.map(() => true);
  let differences: readonly Difference[] = [];
  const reasons = new Set<string>();
  let served = 0;
  for (const round of rounds) {
    await sleep(round.pauseMs);
    const probes = open.map((question, at) =>
      probeOf(question, random, isServed[at] === true ? round : { ...round, connections: fewest }),
    );
    const [theirs, own] = await Promise.all([observe(reference, open, probes), observe(ours, open, probes)]);
    if (open === questions) served = theirs.filter(({ sources }) => sources.length > 0).length;
    const found = new Map(
      open.map((question, at) => [question, theirs[at]!.sources.length + own[at]!.sources.length > 0]),
    );
    differences = open.flatMap((question, at): Difference[] =>
      isSame(question, theirs[at]!, own[at]!)
        ? []
        : [{ question, reference: theirs[at]!, ours: own[at]!, kind: ours.kind }],
    );
    differences = differences.filter((difference) => {
      const reason = explained(difference);
      if (reason !== undefined) reasons.add(reason);
      return reason === undefined;
    });
    open = differences.map(({ question }) => question);
    isServed = open.map((question) => found.get(question) === true);
    if (open.length === 0) break;
  }
  return { differences, reasons: [...reasons], served };
}

const shown = ({ outcomes, sources, sticks }: Observation): string =>
  `${outcomes.join(', ') || 'nothing'}${sources.length === 0 ? '' : ` (source: ${sources.join(', ')})`}${sticks ? '' : ' (changes)'}`;

/** Returns a difference in words. */
export function describe({ question: { client, target }, reference, ours, kind }: Difference): string {
  const { protocol, address, port, of, service } = target;
  return [
    `${client.name} → ${protocol} ${address} port ${port} (${of}, ${service.metadata.name})`,
    `  kube-proxy: ${shown(reference)}`,
    `  ${kind}: ${shown(ours)}`,
  ].join('\n');
}
