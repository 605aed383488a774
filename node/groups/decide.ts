import type { NodeSelector } from '../document/read.ts';
import { shortened } from './records.ts';
import type { GroupSpec, NodeRecord } from './records.ts';

/** The state of a group at one revision of etcd. */
export interface GroupView {
  readonly spec: GroupSpec;
  readonly nodes: ReadonlyMap<string, NodeRecord>;
  /** The nodes that hold a place to change, which lasts as long as their lease. */
  readonly places: ReadonlySet<string>;
}

/** The state of a node, as the node knows it. */
export interface OwnView {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The revision that was applied to this node. */
  readonly revision?: string;
  /** Its state comes from a file: `node apply --force` replaced that of the group. */
  readonly isForced?: boolean;
  /** For how long everything has been in its desired state, in ms; undefined: it is not. */
  readonly healthyMs?: number;
  /** Undefined: ready, or not required. */
  readonly daemonProblem?: string;
  /** The problem of the reconciler, for the reason of a failure. */
  readonly problem?: string;
  /** Why the state of the group could not be read from etcd or stored, at the latest attempt. */
  readonly untaken?: string;
  /** How long ago this node began to change, in ms. */
  readonly changingMs: number;
  /** How long the specification and the places have been unchanged, in ms. */
  readonly quietMs: number;
}

/** The next action of a node. */
export type Decision =
  | { readonly do: 'wait'; readonly why: string }
  /** Makes itself known to the group, as a node that waits for its state. */
  | { readonly do: 'register' }
  /** Takes a place, if nobody was faster. */
  | { readonly do: 'take' }
  /** Applies the revision. It has a place. */
  | { readonly do: 'apply' }
  /** Has the revision, passed the gate, and gives the place back. */
  | { readonly do: 'ready' }
  | { readonly do: 'fail'; readonly why: string };

const turnMs = 2000;
const longestTurnMs = 30_000;

export const isSelected = (
  { names, labels }: NodeSelector,
  node: { readonly name: string; readonly labels: Readonly<Record<string, string>> },
): boolean =>
  (names?.includes(node.name) ?? false) ||
  (labels !== undefined && Object.entries(labels).every(([key, value]) => node.labels[key] === value));

/** Whether a record is about the current attempt. */
const isCurrent = ({ generation, attempt }: GroupSpec, record: NodeRecord | undefined): boolean =>
  record?.generation === generation && record.attempt === attempt;

const lost = 'its lease ended while it changed';

/**
 * Returns the node that halts the rollout, and why; undefined: it is not halted. A node that is lost while it
 * changes halts it without writing anything: its place is gone and its record says that it changes. A record
 * of a node that the group does not select halts nothing, whoever wrote it.
 */
export function haltedBy({
  spec,
  nodes,
  places,
}: GroupView): { readonly node: string; readonly why: string } | undefined {
  for (const [node, record] of nodes) {
    if (!isCurrent(spec, record) || !isSelected(spec.selector, { name: node, labels: record.labels }))
      continue;
    if (record.phase === 'failed') return { node, why: record.why ?? 'it failed' };
    if (record.phase === 'changing' && !places.has(node)) return { node, why: lost };
  }
  return undefined;
}

/** Returns the names of the nodes that belong to the group, as far as they are known. */
export function membersOf({ spec, nodes }: GroupView): readonly string[] {
  const known = [...nodes].flatMap(([name, { labels }]) =>
    isSelected(spec.selector, { name, labels }) ? [name] : [],
  );
  return [...new Set([...(spec.selector.names ?? []), ...known])].sort();
}

/** A node that changes faster writes no reason. */
const quickMs = 30_000;

/** All nodes of the group read each write. */
const explainMs = 2 * longestTurnMs;

/**
 * Returns the reason that a node writes while it changes: '' if the written one no longer holds, and
 * undefined if there is nothing to write.
 * @param explainedMs how long ago the node wrote a reason, in ms; undefined: it has not
 */
export function reasonToWrite(
  { spec, nodes, places }: GroupView,
  { name, untaken, problem, daemonProblem, changingMs }: OwnView,
  explainedMs: number | undefined,
): string | undefined {
  const record = nodes.get(name);
  const why = shortened(untaken ?? problem ?? daemonProblem ?? '');
  const isDue = changingMs >= quickMs && (explainedMs ?? explainMs) >= explainMs;
  if (record?.phase !== 'changing' || !isCurrent(spec, record) || !places.has(name)) return undefined;
  return isDue && why !== (record.why ?? '') ? why : undefined;
}

/** Decides what a selected node does next. */
export function decide(view: GroupView, own: OwnView): Decision {
  const { spec, nodes, places } = view;
  const record = nodes.get(own.name);
  const hasPlace = places.has(own.name);
  if (record === undefined) return { do: 'register' };
  if (isCurrent(spec, record)) {
    if (record.phase === 'ready' && own.revision === spec.revision)
      return { do: 'wait', why: `it has the revision of generation ${spec.generation}` };
    if (record.phase === 'ready' && own.isForced === true)
      return { do: 'wait', why: 'it keeps the state of a file until the next generation' };
    if (record.phase === 'failed') return { do: 'wait', why: `it failed: ${record.why ?? ''}` };
    if (record.phase === 'changing') return hasPlace ? whileChanging(spec, own) : { do: 'fail', why: lost };
    // It lost its state, such as by a new disk, or etcd was restored to an older one. The turns of nodes that
    // wait follow from their records, so its record has to say that it waits.
    if (!hasPlace) return { do: 'register' };
  }
  // A new generation arrived while this node was changing: it continues with that one and keeps its place.
  if (hasPlace) return { do: 'take' };
  if (record.phase === 'ready' && record.revision === spec.revision && own.revision === spec.revision)
    return { do: 'ready' };
  const halted = haltedBy(view);
  if (halted !== undefined)
    return { do: 'wait', why: `the rollout is halted by ${halted.node}: ${halted.why}` };
  return whileWaiting(view, own);
}

function whileWaiting(view: GroupView, own: OwnView): Decision {
  const { spec, nodes, places } = view;
  // A place of a node that the group does not select, whoever wrote it, must not stop the group.
  const taken = [...places].filter((name) =>
    isSelected(spec.selector, { name, labels: nodes.get(name)?.labels ?? {} }),
  );
  const free = spec.rollout.maxUnavailable - taken.length;
  if (free <= 0) return { do: 'wait', why: `${taken.sort().join(', ')} change first` };
  const waiting = membersOf(view).filter((name) => {
    const other = nodes.get(name);
    return other !== undefined && !places.has(name) && !isCurrent(spec, other);
  });
  // Thousands of nodes would ask etcd for one place, so they ask in turns. An absent node costs one turn.
  const turn = Math.floor(Math.max(0, waiting.indexOf(own.name)) / free);
  return own.quietMs >= Math.min(longestTurnMs, turn * turnMs)
    ? { do: 'take' }
    : { do: 'wait', why: 'it waits for its turn' };
}

function whileChanging({ revision, rollout }: GroupSpec, own: OwnView): Decision {
  const { deadlineSeconds, gate, pauseSeconds } = rollout;
  const late = (why: string): Decision => ({
    do: 'fail',
    why: `not healthy within ${deadlineSeconds} s: ${why}`,
  });
  if (own.revision !== revision) {
    // It tries until its deadline, and then gives its place back.
    const isLate = own.untaken !== undefined && own.changingMs > deadlineSeconds * 1000;
    return isLate ? late(`it could not take the state: ${own.untaken}`) : { do: 'apply' };
  }
  const { healthyMs = -1, daemonProblem } = own;
  const isReady = !gate.daemonReady || daemonProblem === undefined;
  const isHealthy = isReady && healthyMs >= gate.healthySeconds * 1000;
  if (isHealthy && healthyMs >= (gate.healthySeconds + pauseSeconds) * 1000) return { do: 'ready' };
  // The pause is not the node's fault.
  const allowed = deadlineSeconds * 1000 + (isHealthy ? pauseSeconds * 1000 : 0);
  if (own.changingMs <= allowed) return { do: 'wait', why: isHealthy ? 'it pauses' : 'it changes' };
  const why =
    own.problem ??
    (gate.daemonReady ? daemonProblem : undefined) ??
    'it did not stay in its desired state long enough';
  return late(why);
}

const unheard = 'no agent has made itself known to the group by this name';

/** The progress of a group. */
export interface GroupStatus {
  readonly state: 'complete' | 'halted' | 'progressing';
  readonly halted?: { readonly node: string; readonly why: string };
  readonly nodes: readonly {
    readonly name: string;
    readonly phase: NodeRecord['phase'] | 'unknown';
    readonly revision?: string;
    readonly why?: string;
  }[];
}

/** Returns the progress of a group, from what every node can see. */
export function groupStatus(view: GroupView): GroupStatus {
  const { spec, nodes, places } = view;
  const halted = haltedBy(view);
  const listed = membersOf(view).map((name) => {
    const record = nodes.get(name);
    if (record === undefined) return { name, phase: 'unknown' as const, why: unheard };
    const isLost = record.phase === 'changing' && !places.has(name);
    const phase = isCurrent(spec, record)
      ? isLost
        ? ('failed' as const)
        : record.phase
      : ('waiting' as const);
    const why = isLost ? lost : record.why;
    return {
      name,
      phase,
      revision: record.revision,
      ...((phase === 'failed' || phase === 'changing') && why !== undefined && { why }),
    };
  });
  const isComplete = listed.length > 0 && listed.every(({ phase }) => phase === 'ready');
  return {
    state: isComplete ? 'complete' : halted !== undefined ? 'halted' : 'progressing',
    ...(halted !== undefined && { halted }),
    nodes: listed,
  };
}
