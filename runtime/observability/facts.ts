import { standingExceptions } from '../../trust/index.ts';
import type { Denial, NetworkFigures } from '../../cni-plugins/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { PolicyHolder } from '../policy-watch.ts';
import type { SandboxRecord } from '../pods/record.ts';

/** What a pull came to. */
export type PullOutcome = 'admitted' | 'denied' | 'undecided' | 'cancelled' | 'failed';

/** Hears what happens beside the calls. */
export interface RuntimeObserver {
  started(outcome: 'ok' | 'failed'): void;
  /** @param reason as the container's status tells it */
  exited(reason: string): void;
  pulled(outcome: PullOutcome, seconds: number): void;
  /** An attachment of a pod was made or removed. */
  networked(act: 'attach' | 'detach', outcome: 'ok' | 'failed', seconds: number): void;
  /** Bytes of a blob that has come from a registry. */
  fetched(bytes: number): void;
  decided(outcome: 'admit' | 'deny' | 'undecided', act: 'pull' | 'run'): void;
  /** A rule would have refused, and an exception of the policy admitted. */
  excepted(kind: 'break-glass' | 'report', act: 'pull' | 'run'): void;
}

/** By pod and rule, which are as many as there are pods. */
export interface DeniedTraffic {
  readonly namespace: string;
  readonly pod: string;
  readonly direction: 'egress' | 'ingress';
  readonly rule: string;
  readonly packets: number;
  readonly bytes: number;
}

/** What is true at the moment of a scrape. */
export interface DaemonFacts {
  readonly version: string;
  /** Counts by state; a state without any is 0. */
  pods(): Readonly<Record<'ready' | 'notready', number>>;
  containers(): Readonly<Record<'created' | 'running' | 'exited', number>>;
  /** Those that run with less confinement than their profile says. */
  degradedContainers(): number;
  images(): Readonly<Record<'true' | 'false', number>>;
  imageBytes(): Promise<number>;
  namespacePool(): number;
  readonly namespacePoolTarget: number;
  networkReady(): Promise<boolean>;
  networkFigures(): Promise<NetworkFigures>;
  /** What the links of pods that stand have denied. */
  networkDenials(): Promise<readonly DeniedTraffic[]>;
  policy(): {
    readonly revision: string | undefined;
    readonly failed: boolean;
    readonly rules: Readonly<Record<'true' | 'false', number>>;
    /** Rules that do not refuse, by why. */
    readonly exceptions: Readonly<Record<'break-glass' | 'report' | 'logs', number>>;
    /** Loads since the start, by how they ended. */
    readonly loads: Readonly<Record<'loaded' | 'failed', number>>;
  };
  /** Bundles verified since the start. */
  verifications(): number;
  /** What runs, or is recorded, and would not be admitted now. */
  outOfPolicy(): {
    readonly containers: readonly { readonly namespace: string; readonly rule: string; readonly count: number }[];
    readonly images: number;
  };
  /** Renewals since the start, and what could not be renewed: evidence that has ended, roots whose latest update failed. */
  renewals(): {
    readonly evidence: { readonly renewed: number; readonly failed: number; readonly ended: number };
    readonly roots: { readonly updated: number; readonly unchanged: number; readonly failed: number; readonly failing: number };
  };
  events(): { readonly clients: number; readonly waiting: number; readonly sent: number; readonly lost: number };
  auditFailures(): number;
}

/** Sandboxes by what a list says of them. Pure. */
export function countPods(records: readonly SandboxRecord[]): Record<'ready' | 'notready', number> {
  const ready = records.filter(({ phase }) => phase === 'ready').length;
  return { ready, notready: records.filter(({ phase }) => phase !== 'creating').length - ready };
}

/** Containers by what a list says of them. Pure. */
export function countContainers(records: readonly ContainerRecord[]): Record<'created' | 'running' | 'exited', number> {
  const count = (...phases: readonly string[]): number => records.filter(({ phase }) => phases.includes(phase)).length;
  return { created: count('created', 'starting'), running: count('running'), exited: count('exited') };
}

/** Containers that run and of whose profile the node can not enforce all. Pure. */
export function countDegraded(records: readonly ContainerRecord[]): number {
  return records.filter(({ phase, degraded = [] }) => phase === 'running' && degraded.length > 0).length;
}

/** How many of `items` were verified (`true`) and how many not. Pure. */
export function countByVerdict<Item>(items: readonly Item[], isUnverified: (item: Item) => boolean): Record<'true' | 'false', number> {
  const unverified = items.filter(isUnverified).length;
  return { true: items.length - unverified, false: unverified };
}

/** The policy in force, as metrics tell it. */
export function policyFacts(policy: Pick<PolicyHolder, 'current' | 'problem' | 'loads'>): ReturnType<DaemonFacts['policy']> {
  const current = policy.current();
  const standing = current === undefined ? [] : standingExceptions(current, new Date()).filter(({ ended }) => !ended);
  const count = (kind: 'break-glass' | 'report' | 'logs'): number => standing.filter((one) => one.kind === kind).length;
  return {
    revision: current?.revision,
    failed: policy.problem() !== undefined,
    rules: countByVerdict(current?.rules ?? [], ({ allowUnverified }) => allowUnverified),
    exceptions: { 'break-glass': count('break-glass'), report: count('report'), logs: count('logs') },
    loads: policy.loads(),
  };
}

/** One row for each pod, direction and rule: a pod that was made anew has the name of the one before. */
export function deniedTraffic(denials: readonly Denial[]): DeniedTraffic[] {
  const rows = new Map<string, DeniedTraffic>();
  for (const { pod, direction, rule, packets, bytes } of denials) {
    const key = JSON.stringify([pod.namespace, pod.name, direction, rule]);
    const row = rows.get(key);
    rows.set(key, {
      namespace: pod.namespace,
      pod: pod.name,
      direction,
      rule,
      packets: Number(packets) + (row?.packets ?? 0),
      bytes: Number(bytes) + (row?.bytes ?? 0),
    });
  }
  return [...rows.values()];
}
