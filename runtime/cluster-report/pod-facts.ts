import type { ContainerRecord } from '../containers/record.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { Redecision } from '../redecision/redecision.ts';

/** A container whose image the policy in force does not admit. */
export interface ContainerOutOfPolicy {
  readonly name: string;
  readonly reference: string;
  readonly outcome: 'deny' | 'undecided';
  /** `FILE:LINE`; empty: no rule matches. */
  readonly rule: string;
  readonly verdict: string;
  readonly reasons: readonly string[];
}

/** A pod that has such containers, as the API names it. */
export interface PodOutOfPolicy {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** In the order of their creation. */
  readonly containers: readonly ContainerOutOfPolicy[];
}

/** Returns the pods that have containers out of policy, by the uid of the pod. Pure. */
export function podsOutOfPolicy(
  containers: readonly Pick<ContainerRecord, 'config' | 'id' | 'sandboxId'>[],
  sandbox: (id: string) => Pick<SandboxRecord, 'config'> | undefined,
  redecision: Pick<Redecision, 'of'>,
): ReadonlyMap<string, PodOutOfPolicy> {
  const pods = new Map<string, PodOutOfPolicy & { readonly containers: ContainerOutOfPolicy[] }>();
  for (const record of containers) {
    const found = redecision.of(record.id);
    const metadata = sandbox(record.sandboxId)?.config.metadata;
    if (found === undefined || metadata === undefined) continue;
    const { namespace, name, uid } = metadata;
    let pod = pods.get(uid);
    if (pod === undefined) pods.set(uid, (pod = { namespace, name, uid, containers: [] }));
    const { reference, outcome, rule, verdict, reasons } = found;
    const own = record.config.metadata?.name ?? '';
    pod.containers.push({ name: own, reference, outcome, rule, verdict, reasons });
  }
  return pods;
}
