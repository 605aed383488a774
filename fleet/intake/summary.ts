import { hasManyValues, parseJson } from '../../base/json/index.ts';
import { describeProblems, validate } from '../../base/schema/index.ts';
import { mostStateLength, nodeStateSchema } from '../records/state.ts';
import type { NodeState } from '../records/state.ts';
import type { ImageOnNode, StoredState } from '../store/store.ts';

/** The parts of a state that the list of nodes, alerts and metrics show. */
export interface NodeSummary {
  readonly version: string;
  readonly revision?: string;
  readonly policyProblem?: string;
  readonly enforcement: string;
  readonly networkReady: boolean;
  readonly outOfPolicy: number;
  readonly degraded: number;
  readonly running: number;
  /** The root that expires first. */
  readonly root?: { readonly name: string; readonly ends: string };
}

/** More values than a state with full lists has. The cheapest ones of a hostile state are many times more. */
const mostValues = 2 ** 17;

/** Reads a state. Returns why it is refused instead. */
export function readState(body: string): StoredState | { readonly refused: string } {
  if (body.length > mostStateLength)
    return { refused: `a state is longer than ${mostStateLength} characters` };
  if (hasManyValues(body, mostValues)) return { refused: `a state has more than ${mostValues} values` };
  let value: unknown;
  try {
    value = wellFormed(parseJson(body));
  } catch {
    return { refused: 'a state is not JSON' };
  }
  const position = { file: 'state', line: 0, column: 0 };
  const problems = validate({ value, file: 'state', positionOf: () => position }, nodeStateSchema);
  if (problems.length > 0)
    return { refused: `a state is malformed: ${describeProblems(problems.slice(0, 3)).trimEnd()}` };
  const state = value as NodeState;
  return {
    json: JSON.stringify(value),
    summary: JSON.stringify(summaryOf(state)),
    running: JSON.stringify(imagesOf(state)),
    upcoming: state.upcoming === undefined ? '' : JSON.stringify(state.upcoming),
  };
}

/**
 * Replaces halves of surrogate pairs, which UTF-8 cannot have: a list that continues after such a text would
 * continue at another place.
 */
function wellFormed(value: unknown): unknown {
  // `JSON.stringify` escapes such halves, and no other surrogates.
  if (!JSON.stringify(value).includes(String.raw`\ud`)) return value;
  const json = JSON.stringify(value, (_key, one: unknown) =>
    typeof one === 'string' ? one.toWellFormed() : one,
  );
  return parseJson(json);
}

function imagesOf({ running }: NodeState): readonly ImageOnNode[] {
  const images = Map.groupBy(running, ({ reference, imageId }) => JSON.stringify([reference, imageId]));
  return [...images.values()].flatMap((containers) => {
    const [first] = containers;
    if (first === undefined) return [];
    const { reference, imageId, verdict } = first;
    return [[reference, imageId, verdict, containers.length] as const];
  });
}

function summaryOf(state: NodeState): NodeSummary {
  const { policy, roots } = state;
  const root = roots.toSorted((a, b) => (a.ends < b.ends ? -1 : 1))[0];
  return {
    version: state.version,
    ...(policy.revision !== undefined && { revision: policy.revision }),
    ...(policy.problem !== undefined && { policyProblem: policy.problem }),
    enforcement: state.enforcement.result,
    networkReady: state.networkReady,
    outOfPolicy: state.outOfPolicy.length,
    degraded: state.degraded.length,
    running: state.running.length,
    ...(root !== undefined && { root: { name: root.name, ends: root.ends } }),
  };
}
