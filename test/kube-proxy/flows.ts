import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Answer, Probe } from './end.ts';
import { addressAt, clients } from './layout.ts';
import type { Client } from './layout.ts';
import type { TestNode } from './nodes.ts';
import { pick } from './objects.ts';
import type { Random } from './objects.ts';
import type { ServiceTarget } from './targets.ts';

/** Connections and flows of datagrams that are open while objects change. */

interface Flow {
  readonly client: Client;
  readonly target: ServiceTarget;
  readonly probe: Probe;
}

export interface Flows {
  readonly nodes: readonly TestNode[];
  readonly byEnd: ReadonlyMap<string, readonly Flow[]>;
  /** The first answers, by node and end. */
  readonly first: readonly ReadonlyMap<string, readonly (readonly Answer[])[]>[];
}

const [mostTargets, flowsOfTarget] = [10, 10];
/** A proxy ends flows a while after it serves new connections by the change. */
const rounds = [
  { pauseMs: 0, patienceMs: 1000 },
  { pauseMs: 500, patienceMs: 1000 },
  { pauseMs: 2000, patienceMs: 3000 },
  { pauseMs: 8000, patienceMs: 6000 },
] as const;

/** Opens the same flows on all nodes. */
export async function openFlows(
  nodes: readonly TestNode[],
  targets: readonly ServiceTarget[],
  random: Random,
): Promise<Flows> {
  const chosen = [...targets]
    .filter(({ of }) => of !== 'unserved')
    .sort(() => random() - 0.5)
    .slice(0, mostTargets);
  const flows = chosen.map((target): Flow => {
    const client = pick(
      random,
      clients.filter(({ sources }) => sources !== undefined),
    );
    const { protocol, address, port } = target;
    const source = client.sources?.[address.includes(':') ? 1 : 0];
    const froms = Array.from({ length: flowsOfTarget }, () => source && addressAt(source, random()));
    return { client, target, probe: { protocol, address, port, froms, patienceMs: 1000 } };
  });
  const byEnd = Map.groupBy(flows, ({ client }) => client.end);
  const first = await Promise.all(
    nodes.map(async (node) => {
      const answers = new Map<string, readonly (readonly Answer[])[]>();
      for (const [end, own] of byEnd)
        answers.set(
          end,
          await node.open(
            end,
            own.map(({ probe }) => probe),
          ),
        );
      return answers;
    }),
  );
  return { nodes, byEnd, first };
}

const endpointOf = (answer: Answer): string | undefined => {
  const [address, port] = answer.split(' ');
  return port === undefined ? undefined : `${address} ${port}`;
};

/** Returns what became of the flows to each endpoint. */
function outcomesOf(first: readonly Answer[], now: readonly Answer[]): Map<string, Set<string>> {
  const outcomes = new Map<string, Set<string>>();
  for (const [at, answer] of first.entries()) {
    const before = endpointOf(answer);
    if (before === undefined) continue;
    const after = endpointOf(now[at] ?? '');
    const outcome = after === undefined ? (now[at] ?? '') : after === before ? 'continues' : 'moves';
    outcomes.set(before, (outcomes.get(before) ?? new Set()).add(outcome));
  }
  return outcomes;
}

/** The flows of a target that were at one endpoint before a change. */
export interface FlowDifference {
  readonly target: ServiceTarget;
  readonly client: Client;
  readonly endpoint: string;
  /** The outcomes of the flows with each proxy. */
  readonly reference: ReadonlySet<string>;
  readonly ours: ReadonlySet<string>;
  readonly text: string;
}

/** Compares what became of the flows, and closes them. */
export async function compareFlows(
  { nodes, byEnd, first }: Flows,
  kind: string,
): Promise<readonly FlowDifference[]> {
  const wrong: FlowDifference[] = [];
  for (const [end, flows] of byEnd) {
    let found: FlowDifference[] = [];
    for (const { pauseMs, patienceMs } of rounds) {
      await sleep(pauseMs);
      const now = await Promise.all(nodes.map((node) => node.ask(end, patienceMs)));
      found = flows.flatMap(({ client, target }, at) => {
        const [theirs, ours] = nodes.map((_, which) =>
          outcomesOf(first[which]?.get(end)?.[at] ?? [], now[which]?.[at] ?? []),
        );
        return [...(theirs ?? [])].flatMap(([endpoint, outcomes]): FlowDifference | readonly [] => {
          const own = ours?.get(endpoint);
          if (own === undefined || isDeepStrictEqual(outcomes, own)) return [];
          const { protocol, address, port, of, service } = target;
          const text = `flow of ${client.name} → ${protocol} ${address} port ${port} (${of}, ${service.metadata.name}), before at ${endpoint}\n  kube-proxy: ${[...outcomes].join()}\n  ${kind}: ${[...own].join()}`;
          return { target, client, endpoint, reference: outcomes, ours: own, text };
        });
      });
      if (found.length === 0) break;
    }
    wrong.push(...found);
    for (const node of nodes) await node.end(end);
  }
  return wrong;
}
