import { standingExceptions } from '../../trust/policy/index.ts';
import type {
  AdminClusterPolicy,
  Denial,
  NameFigures,
  NetworkEngine,
  NetworkFigures,
  ServiceFigures,
} from '../../cni-plugins/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { EnforcementState } from '../enforcement/enforcement.ts';
import type { ClusterPolicy } from '../cluster-policy/cluster-policy.ts';
import type { PolicyDelivery } from '../policy-delivery/delivery.ts';
import type { DeliveryStatus } from '../policy-delivery/status.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import type { SandboxRecord } from '../pods/record.ts';

/** The outcome of a pull. */
export type PullOutcome = 'admitted' | 'denied' | 'undecided' | 'cancelled' | 'failed';

/** Receives events that are not CRI calls. */
export interface RuntimeObserver {
  started(outcome: 'ok' | 'failed'): void;
  /**
   * Called when a container has ended.
   * @param reason as in the container's status
   */
  exited(reason: string): void;
  pulled(outcome: PullOutcome, seconds: number): void;
  /** Called when an attachment of a pod was made or removed. */
  networked(act: 'attach' | 'detach', outcome: 'ok' | 'failed', seconds: number): void;
  /** Called with the bytes of a blob that were received from a registry. */
  fetched(bytes: number): void;
  decided(outcome: 'admit' | 'deny' | 'undecided', act: 'pull' | 'run'): void;
  /** Called when a rule would have refused an image, but an exception of the policy admitted it. */
  excepted(kind: 'break-glass' | 'report', act: 'pull' | 'run'): void;
  /** Called after each call of a plugin of the node. @param method such as `CreateContainer` */
  nriCalled(method: string, outcome: 'ok' | 'refused' | 'timeout' | 'lost'): void;
  nriAdjusted(outcome: 'applied' | 'refused'): void;
}

/** The sum over all pods: a metric names no pod, the log does. */
export interface DeniedTraffic {
  readonly direction: 'egress' | 'ingress';
  readonly rule: string;
  readonly packets: number;
  readonly bytes: number;
}

/** The values at the moment of a scrape. */
export interface DaemonFacts {
  readonly version: string;
  /** Counts by state. A state without pods is 0. */
  pods(): Readonly<Record<'ready' | 'notready', number>>;
  containers(): Readonly<Record<'created' | 'running' | 'exited', number>>;
  /** Containers that run with less confinement than their profile requires. */
  degradedContainers(): number;
  /** Containers that run without their monitor. */
  unmonitoredContainers(): number;
  images(): Readonly<Record<'true' | 'false', number>>;
  imageBytes(): Promise<number>;
  /** The pulls that know their manifest. */
  pulls(): Promise<readonly { readonly bytes: number; readonly bytesReceived: number }[]>;
  namespacePool(): number;
  readonly namespacePoolTarget: number;
  networkReady(): Promise<boolean>;
  networkFigures(): Promise<NetworkFigures>;
  /** Undefined: no name server runs, because nothing has a name. */
  nameFigures(): Promise<NameFigures | undefined>;
  /** Undefined: there are no services. */
  serviceFigures(): Promise<ServiceFigures | undefined>;
  /** Traffic that the links of existing pods have denied. */
  networkDenials(): Promise<readonly DeniedTraffic[]>;
  policy(): {
    readonly revision: string | undefined;
    readonly failed: boolean;
    readonly rules: Readonly<Record<'true' | 'false', number>>;
    /** Rules that do not refuse, by reason. */
    readonly exceptions: Readonly<Record<'break-glass' | 'report' | 'logs', number>>;
    /** Loads since the start, by outcome. */
    readonly loads: Readonly<Record<'loaded' | 'failed', number>>;
    /** Undefined: the node follows no signed releases. */
    readonly delivery?: DeliveryStatus | undefined;
    /** Undefined: the policy is not in objects of the cluster. */
    readonly objects?: AdminClusterPolicy | undefined;
  };
  /** Bundles verified since the start. */
  verifications(): number;
  /** Running containers and recorded images that would not be admitted now. */
  outOfPolicy(): {
    readonly containers: readonly {
      readonly namespace: string;
      readonly rule: string;
      readonly count: number;
    }[];
    readonly images: number;
  };
  /**
   * Renewals since the start, and what could not be renewed: expired evidence, and roots whose latest update
   * failed.
   */
  renewals(): {
    readonly evidence: { readonly renewed: number; readonly failed: number; readonly ended: number };
    readonly roots: {
      readonly updated: number;
      readonly unchanged: number;
      readonly failed: number;
      readonly failing: number;
    };
  };
  /** The state of enforcement on this node. */
  enforcement(): EnforcementState;
  events(): {
    readonly clients: number;
    readonly waiting: number;
    readonly sent: number;
    readonly lost: number;
  };
  auditFailures(): number;
}

/** Returns the facts about pods and containers. */
export function recordFacts(
  sandboxes: { list(): readonly SandboxRecord[] },
  containers: { list(): readonly ContainerRecord[] },
  unmonitored: () => readonly string[],
): Pick<DaemonFacts, 'pods' | 'containers' | 'degradedContainers' | 'unmonitoredContainers'> {
  return {
    pods: () => countPods(sandboxes.list()),
    containers: () => countContainers(containers.list()),
    degradedContainers: () => countDegraded(containers.list()),
    unmonitoredContainers: () => unmonitored().length,
  };
}

/** Returns the facts about the network. */
export function networkFacts(
  network: Pick<NetworkEngine, 'denials' | 'figures' | 'status'> & {
    nameFigures(): Promise<NameFigures | undefined>;
  },
): Pick<DaemonFacts, 'nameFigures' | 'networkDenials' | 'networkFigures' | 'networkReady'> {
  const denied = createDeniedTraffic();
  return {
    networkReady: async () => (await network.status()).ready,
    networkFigures: () => network.figures(),
    nameFigures: () => network.nameFigures(),
    networkDenials: async () => denied(await network.denials()),
  };
}

/** Counts sandboxes by their listed state. Pure. */
export function countPods(records: readonly SandboxRecord[]): Record<'ready' | 'notready', number> {
  const ready = records.filter(({ phase }) => phase === 'ready').length;
  return { ready, notready: records.filter(({ phase }) => phase !== 'creating').length - ready };
}

/** Counts containers by their listed state. Pure. */
export function countContainers(
  records: readonly ContainerRecord[],
): Record<'created' | 'running' | 'exited', number> {
  const count = (...phases: readonly string[]): number =>
    records.filter(({ phase }) => phases.includes(phase)).length;
  return { created: count('created', 'starting'), running: count('running'), exited: count('exited') };
}

/** Counts running containers whose profile this node cannot enforce completely. Pure. */
export function countDegraded(records: readonly ContainerRecord[]): number {
  return records.filter(({ phase, degraded = [] }) => phase === 'running' && degraded.length > 0).length;
}

/** Counts the verified (`true`) and unverified items. Pure. */
export function countByVerdict<Item>(
  items: readonly Item[],
  isUnverified: (item: Item) => boolean,
): Record<'true' | 'false', number> {
  const unverified = items.filter(isUnverified).length;
  return { true: items.length - unverified, false: unverified };
}

/** Returns the facts about the policy in force. */
export function policyFacts(
  policy: Pick<PolicyHolder, 'current' | 'problem' | 'loads'>,
  delivery: Pick<PolicyDelivery, 'status'> | undefined,
  objects: Pick<ClusterPolicy, 'status'> | undefined,
): ReturnType<DaemonFacts['policy']> {
  const current = policy.current();
  const existing =
    current === undefined ? [] : standingExceptions(current, new Date()).filter(({ ended }) => !ended);
  const count = (kind: 'break-glass' | 'report' | 'logs'): number =>
    existing.filter((one) => one.kind === kind).length;
  return {
    revision: current?.revision,
    failed: policy.problem() !== undefined,
    rules: countByVerdict(current?.rules ?? [], ({ allowUnverified }) => allowUnverified),
    exceptions: { 'break-glass': count('break-glass'), report: count('report'), logs: count('logs') },
    loads: policy.loads(),
    delivery: delivery?.status(),
    objects: objects?.status(),
  };
}

/**
 * Sums what links denied, by direction and rule. A pod's own counters end with the pod, but the sums
 * continue. Each call passes the kernel's current counters.
 */
function createDeniedTraffic(): (denials: readonly Denial[]) => DeniedTraffic[] {
  const sums = new Map<string, DeniedTraffic>();
  let last = new Map<string, Denial>();
  return (denials) => {
    const seen = new Map<string, Denial>();
    for (const denial of denials) {
      const { id, direction, rule, packets, bytes } = denial;
      const key = JSON.stringify([id, direction, rule]);
      seen.set(key, denial);
      const found = last.get(key);
      // A recreated link counts from zero.
      const before = found !== undefined && found.packets <= packets ? found : { packets: 0n, bytes: 0n };
      const name = JSON.stringify([direction, rule]);
      const sum = sums.get(name) ?? { direction, rule, packets: 0, bytes: 0 };
      sums.set(name, {
        ...sum,
        packets: sum.packets + Number(packets - before.packets),
        bytes: sum.bytes + Number(bytes - before.bytes),
      });
    }
    last = seen;
    return [...sums.values()];
  };
}
