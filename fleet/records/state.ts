import type { JsonSchema } from '../../base/schema/index.ts';

/** A container of a node. */
export interface FleetContainer {
  readonly id: string;
  readonly namespace: string;
  readonly pod: string;
  readonly name: string;
}

/** A container that runs, the image that it runs, and the verdict that admitted it. */
export interface RunningContainer extends FleetContainer {
  readonly reference: string;
  readonly imageId: string;
  readonly verdict: string;
}

/** A container that the policy in force would not admit. */
export interface OutOfPolicyContainer extends FleetContainer {
  readonly reference: string;
  readonly rule: string;
  readonly outcome: 'deny' | 'undecided';
  /** ISO 8601. */
  readonly since: string;
  readonly verdict: string;
}

/** A finding of the enforcement check of a node. */
export interface FleetFinding {
  readonly code: string;
  readonly effect: string;
  readonly on: string;
}

/** A workload that a policy that is not in force would refuse. */
export interface RefusedWorkload {
  readonly namespace: string;
  readonly reference: string;
  readonly outcome: 'deny' | 'undecided';
  /** `FILE:LINE` of the rule; empty when none applies. */
  readonly rule: string;
}

/**
 * A release of the subscribed policy that the node has not put in force, and the workloads of the node that
 * it would refuse.
 */
export interface UpcomingPolicy {
  /** `CHANNEL/NUMBER`. */
  readonly release: string;
  /** Absent when the node could not load it. */
  readonly revision?: string;
  /** The first of the workloads, and their total number. */
  readonly denials: readonly RefusedWorkload[];
  readonly count: number;
  /** Why the node could not evaluate it. */
  readonly problem?: string;
}

/** The state of a node, as it sends it. */
export interface NodeState {
  readonly version: string;
  readonly policy: { readonly revision?: string; readonly problem?: string };
  readonly upcoming?: UpcomingPolicy;
  /** Whether the node proves that its policy refuses. */
  readonly enforcement: {
    readonly result: string;
    /** ISO 8601. */
    readonly since: string;
    readonly checkedAt?: string;
    readonly triedAt?: string;
    readonly findings: readonly FleetFinding[];
  };
  readonly networkReady: boolean;
  readonly outOfPolicy: readonly OutOfPolicyContainer[];
  /** Containers that run with less confinement than their profile requires. */
  readonly degraded: readonly (FleetContainer & { readonly reasons: readonly string[] })[];
  /** Roots and certificates that the policy in force depends on, and when they expire (ISO 8601). */
  readonly roots: readonly { readonly name: string; readonly rule: string; readonly ends: string }[];
  readonly running: readonly RunningContainer[];
  /** Number of entries that the lists above omit, because they have at most {@link mostEntries}. */
  readonly omitted: number;
}

/** The maximum number of entries of each list of a state. */
export const mostEntries = 1000;
/** The maximum number of characters of a state as JSON. */
export const mostStateLength = 1024 * 1024;

const text = { type: 'string', maxLength: 4096 } as const;
const object = (
  properties: Readonly<Record<string, unknown>>,
  optional: readonly string[] = [],
): JsonSchema => ({
  type: 'object',
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
});
const list = (items: JsonSchema): JsonSchema => ({ type: 'array', maxItems: mostEntries, items });
const container = { id: text, namespace: text, pod: text, name: text };
const time = { type: 'string', pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,18}Z$' } as const;

const refusedWorkload = object({
  namespace: text,
  reference: text,
  outcome: { enum: ['deny', 'undecided'] },
  rule: text,
});

/** The JSON Schema of {@link NodeState}. Fields of later versions are ignored. */
export const nodeStateSchema: JsonSchema = object(
  {
    version: text,
    policy: object({ revision: text, problem: text }, ['revision', 'problem']),
    enforcement: object(
      {
        result: { enum: ['pass', 'fail', 'could not tell'] },
        since: time,
        checkedAt: time,
        triedAt: time,
        findings: list(object({ code: text, effect: text, on: text })),
      },
      ['checkedAt', 'triedAt'],
    ),
    networkReady: { type: 'boolean' },
    outOfPolicy: list(
      object({
        ...container,
        reference: text,
        rule: text,
        outcome: { enum: ['deny', 'undecided'] },
        since: time,
        verdict: text,
      }),
    ),
    degraded: list(object({ ...container, reasons: { type: 'array', maxItems: 64, items: text } })),
    roots: list(object({ name: text, rule: text, ends: time })),
    running: list(object({ ...container, reference: text, imageId: text, verdict: text })),
    omitted: { type: 'integer', minimum: 0 },
    upcoming: object(
      {
        release: text,
        revision: text,
        denials: list(refusedWorkload),
        count: { type: 'integer', minimum: 0 },
        problem: text,
      },
      ['revision', 'problem'],
    ),
  },
  ['upcoming'],
);
