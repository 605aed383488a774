import { reasonOf } from '../../../base/errors/index.ts';
import { keepThread, startWorker } from '../../../base/process/index.ts';
import type { ClusterNetworkPolicy, ClusterPolicySet } from '../kubernetes/cluster-network-policy.ts';
import type { Labels, NetworkPolicy } from '../kubernetes/network-policy.ts';
import type { PeerSource } from '../kubernetes/peer-groups.ts';
import type { PodDescription, PodDescriptions } from '../kubernetes/policies.ts';
import type {
  ClusterCalls,
  ClusterChanges,
  ClusterFigures,
  ClusterOwner,
  ClusterSettings,
  PolicyCluster,
} from './messages.ts';
import { placeOf } from './saved-state.ts';
import { createWorkerPeers } from './worker-peers.ts';

export type { PolicyCluster };

/** The figures of a node about its cluster's policies. */
export interface ClusterReport extends ClusterFigures {
  /** From the arrival of the last change until the kernel had it, in seconds. Absent: none yet. */
  readonly lagSeconds?: number;
}

/** The policies of a cluster, which a Worker follows. */
export interface ClusterPolicies {
  /** The policies of the cluster that are in force: the same object as long as they do not change. */
  current(): {
    readonly policies: readonly NetworkPolicy[];
    readonly cluster?: ClusterPolicySet;
    readonly isolated?: string;
  };
  pods(): PodDescriptions;
  /** Returns a new source of peers, in place of an earlier one. */
  peers(): PeerSource;
  /** Reports that the kernel has everything that has arrived so far. */
  applied(): void;
  /** @param act called when something arrived */
  onChange(act: () => void): void;
  report(): ClusterReport;
  close(): Promise<void>;
}

interface Log {
  error(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

const againMs = 1000;
const closeMs = 5000;
/** A start waits for the stored state, or for the API server, but no longer. */
const startMs = 2000;
/** Enough for 150,000 pods, the most that Kubernetes documents for a cluster. */
const resourceLimits = { maxOldGenerationSizeMb: 1024, maxYoungGenerationSizeMb: 16 };
const unread = 'NetworkPolicies of the cluster that were not read yet';

const noFigures: ClusterFigures = {
  ...{
    synced: false,
    isolated: true,
    pods: 0,
    namespaces: 0,
    policies: 0,
    clusterPolicies: 0,
    groups: 0,
    members: 0,
  },
  ...{ events: 0, lists: 0, failures: 0, problems: [] },
};

/**
 * Starts the Worker that follows the cluster. Until policies are known, from the API server or as they were
 * stored last, every pod is isolated. While the API server is away, the last state stays in force.
 * @returns once policies are known, or after 2 s
 */
export async function openClusterPolicies(settings: ClusterSettings, log: Log): Promise<ClusterPolicies> {
  const policies = new Map<string, NetworkPolicy>();
  const clusterPolicies = new Map<string, ClusterNetworkPolicy>();
  let namespaces: ReadonlyMap<string, Labels> = new Map();
  let pods: ReadonlyMap<string, PodDescription> = new Map();
  let current: ReturnType<ClusterPolicies['current']> = { policies: [], isolated: unread };
  let figures = noFigures;
  let peers = createWorkerPeers(() => undefined);
  let act: () => void = () => undefined;
  let unappliedSince: number | undefined;
  let lagSeconds: number | undefined;
  const known = Promise.withResolvers<undefined>();

  const begin = (): void => thread.notify('begin', peers.state());
  const take = (changes: ClusterChanges): void => {
    const { whole } = changes;
    if (whole) policies.clear();
    if (whole) clusterPolicies.clear();
    putAll(policies, changes.policies);
    putAll(clusterPolicies, changes.clusterPolicies);
    if (whole || changes.namespaces.length > 0)
      namespaces = changed<Labels>(whole ? new Map() : namespaces, changes.namespaces);
    const isOther = [changes.policies, changes.clusterPolicies, changes.namespaces].some(
      (some) => some.length > 0,
    );
    if (whole || isOther)
      current = {
        policies: [...policies.values()],
        cluster: { policies: [...clusterPolicies.values()], namespaces },
      };
    if (whole || changes.pods.length > 0)
      pods = changed<PodDescription>(whole ? new Map() : pods, changes.pods);
    peers.take(changes);
    unappliedSince ??= changes.at;
    known.resolve(undefined);
    act();
  };
  const offer: ClusterOwner = {
    log: (level, fields, message) => log[level](fields, message),
    hello: begin,
    changes: take,
    figures: (now) => void (figures = now),
  };
  const thread = keepThread<ClusterCalls>(
    () =>
      startWorker(import.meta.url, './cluster-policies.worker.ts', { workerData: settings, resourceLimits }),
    {
      offer,
      blame: {
        code: 'NETWORK_POLICIES_FAILED',
        kind: 'unavailable',
        attempted: 'send a request to the thread that follows the NetworkPolicies of the cluster',
        on: placeOf(settings.place),
        fix: 'report this with the daemon log',
      },
      againMs,
      closeMs,
      onLost: (error) =>
        log.error(
          { why: reasonOf(error) },
          'the thread that follows the NetworkPolicies of the cluster failed and is being restarted',
        ),
    },
  );
  thread.started.catch(() => undefined);
  const late = setTimeout(() => known.resolve(undefined), startMs);
  await known.promise;
  clearTimeout(late);

  return {
    current: () => current,
    pods: () => pods,
    peers() {
      peers = createWorkerPeers((call, ...values) => thread.notify(call, ...values), peers);
      begin();
      return peers;
    },
    applied() {
      if (unappliedSince !== undefined) lagSeconds = Math.max(0, Date.now() - unappliedSince) / 1000;
      unappliedSince = undefined;
    },
    onChange: (given) => void (act = given),
    report: () => ({ ...figures, ...(lagSeconds !== undefined && { lagSeconds }) }),
    close: () => thread.close(),
  };
}

type Changes<T> = readonly (readonly [key: string, value: T | undefined])[];

function putAll<T>(map: Map<string, T>, changes: Changes<T>): void {
  for (const [key, value] of changes)
    if (value === undefined) map.delete(key);
    else map.set(key, value);
}

/** Keeps the values that did not change. */
function changed<T>(before: ReadonlyMap<string, T>, changes: Changes<T>): ReadonlyMap<string, T> {
  const now = new Map(before);
  putAll(now, changes);
  return now;
}
