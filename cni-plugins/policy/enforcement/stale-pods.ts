import { blockLimits } from '../kubernetes/block-limits.ts';
import { grantLimits } from '../kubernetes/grant-limits.ts';
import type { GrantDemand, GrantLimit } from '../kubernetes/grant-limits.ts';

/** Open pods that are to be evaluated again, and the limits of grants that all open pods share. */
export interface StalePods<Pod> {
  /** Call it when something changed by which the pod is evaluated. */
  mark(pod: Pod): void;
  /** Returns the number of rules that the policies of a pod ask for, without limits. */
  askedBy(pod: Pod): number;
  /** Takes the pods that are open from now on. New pods, and pods whose limit changed, become stale. */
  replaceOpen(before: ReadonlyMap<string, Pod>, pods: ReadonlyMap<string, Pod>): void;
  /** Returns the number of rules that a stale pod has until it is evaluated. Undefined: it is not stale. */
  held(id: string): number | undefined;
  /** The pod is stale again at the next `replaceOpen`, unless `applied` is called before. */
  evaluated(id: string): void;
  /** Call it when the new rules of the evaluated pods are kept. */
  applied(): void;
  areNone(): boolean;
  /** Returns the limits of a pod in one direction. */
  limitsOf(pod: Pod): { readonly grants: number | undefined; readonly blocks: number | undefined };
  sharedLimits(): SharedLimits;
}

/** Limits by namespace that are lower because pods share them. */
export interface SharedLimits {
  /** Limits of rules and ports. */
  readonly rules: Readonly<Record<string, number>>;
  /** Limits of blocks of addresses. */
  readonly blocks: Readonly<Record<string, number>>;
}

/** @param heldBy returns the number of rules in force of an open pod */
export function createStalePods<Pod extends { readonly id: string; readonly namespace: string }>(
  demandFor: (pod: Pod) => GrantDemand,
  heldBy: (id: string) => number,
): StalePods<Pod> {
  const stale = new Map<string, number>();
  /** The evaluated pods, with the rules that they had, until their new ones are kept. */
  const pending = new Map<string, number>();
  const demands = new Map<string, GrantDemand>();
  let limits: ReadonlyMap<string, GrantLimit> = new Map();
  let ofBlocks: ReadonlyMap<string, number> = new Map();
  const mark = (pod: Pod): void => {
    demands.set(pod.id, demandFor(pod));
    if (!stale.has(pod.id)) stale.set(pod.id, heldBy(pod.id));
  };
  return {
    mark,
    askedBy(pod) {
      const { egress, ingress } = demandFor(pod);
      return egress + ingress;
    },
    replaceOpen(before, pods) {
      for (const [id, held] of pending) stale.set(id, held);
      pending.clear();
      for (const [id, pod] of pods) if (before.get(id) !== pod) mark(pod);
      for (const kept of [demands, stale]) for (const id of kept.keys()) if (!pods.has(id)) kept.delete(id);
      const [former, formerOfBlocks] = [limits, ofBlocks];
      const namespaces = Map.groupBy(pods.values(), ({ namespace }) => namespace);
      limits = grantLimits(namespaces, ({ id }) => demands.get(id));
      ofBlocks = blockLimits(namespaces, ({ id }) => demands.get(id)?.withBlocks ?? []);
      for (const pod of pods.values()) {
        const { namespace } = pod;
        const isOther = former.get(namespace)?.most !== limits.get(namespace)?.most;
        if (isOther || formerOfBlocks.get(namespace) !== ofBlocks.get(namespace)) mark(pod);
      }
    },
    held: (id) => stale.get(id),
    evaluated(id) {
      pending.set(id, stale.get(id) ?? 0);
      stale.delete(id);
    },
    applied: () => pending.clear(),
    areNone: () => stale.size + pending.size === 0,
    limitsOf: ({ namespace }) => ({ grants: limits.get(namespace)?.most, blocks: ofBlocks.get(namespace) }),
    sharedLimits: () => ({
      rules: Object.fromEntries(
        [...limits].flatMap(([name, { most, isShare }]) => (isShare ? [[name, most]] : [])),
      ),
      blocks: Object.fromEntries(ofBlocks),
    }),
  };
}
