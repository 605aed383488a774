import { workerData } from 'node:worker_threads';
import { createApiClient, follow, followOptional, usualTiming } from '../../../base/kubernetes/index.ts';
import type {
  ApiClient,
  Follower,
  ListedCollection,
  OptionalCollection,
} from '../../../base/kubernetes/index.ts';
import { serveThread } from '../../../base/process/index.ts';
import type { Caller } from '../../../base/process/index.ts';
import { openSetStore } from '../../followed-files/stored-set.ts';
import { giveMemoryBack } from '../../services/model/memory.ts';
import { createClusterTable } from './cluster-table.ts';
import type { ClusterTable, Versioned } from './cluster-table.ts';
import type { ClusterCalls, ClusterOwner, ClusterSettings } from './messages.ts';
import { podFields } from './objects.ts';
import { newerOf } from './saved-parts.ts';
import { openSavedState, placeOf } from './saved-state.ts';
import { accessReader, createFollower } from './worker-follower.ts';

/** Follows Pods, Namespaces and NetworkPolicies of a cluster, outside of the network's thread. */
const settings = workerData as ClusterSettings;

/** Changes within this time are delivered together, in ms. */
const gatherMs = 20;
const figuresMs = 1000;

const followed = {
  namespaces: { path: '/api/v1/namespaces', query: {} },
  networkpolicies: { path: '/apis/networking.k8s.io/v1/networkpolicies', query: {} },
  pods: { path: '/api/v1/pods', query: { fieldSelector: podFields } },
  nodes: { path: '/api/v1/nodes', query: {} },
} as const;
/**
 * The resource of ClusterNetworkPolicies is of a CRD, which a cluster may not have. Its objects have the same
 * fields in both versions.
 */
const clusterPolicies: OptionalCollection = {
  versions: ['/apis/policy.networking.k8s.io/v1beta1', '/apis/policy.networking.k8s.io/v1alpha2'],
  resource: 'clusternetworkpolicies',
};

function start(owner: Caller<ClusterOwner>): { readonly offer: ClusterCalls; close(): Promise<void> } {
  const log = {
    info: (fields: object, message: string) => owner.notify('log', 'info', fields, message),
    warn: (fields: object, message: string) => owner.notify('log', 'warn', fields, message),
    error: (fields: object, message: string) => owner.notify('log', 'error', fields, message),
  };
  const table = createClusterTable(settings.nodeName);
  const store = openSavedState({ settings, open: openSetStore, log });
  const last = store.last();
  table.load(last);
  /** The first lists are not older than what is stored: the memory of an API server may be. */
  const since: Partial<Record<Versioned, string | undefined>> = {
    ...last.policies?.versions,
    nodes: last.nodes?.version,
    pods: newerOf(last.own?.version, last.pods?.version),
  };

  const figures = { events: 0, lists: 0, failures: 0 };
  const away = new Map<string, { readonly why: string; readonly fix?: string }>();
  let begun = false;
  let timer: NodeJS.Timeout | undefined;
  let arrived: number | undefined;
  let reported = '';
  const reportFigures = (): void => {
    const [first] = away.values();
    const now = {
      ...figures,
      ...table.figures(),
      isolated: !table.known(),
      ...(first !== undefined && { away: first.why }),
      ...(first?.fix !== undefined && { awayFix: first.fix }),
    };
    const text = JSON.stringify(now);
    if (text !== reported) owner.notify('figures', now);
    reported = text;
  };

  let delivering: Promise<void> | undefined;
  const poke = (): void => {
    arrived ??= Date.now();
    timer ??= setTimeout(() => {
      timer = undefined;
      delivering = (delivering ?? Promise.resolve()).then(deliver);
    }, gatherMs);
  };
  /** Policies are stored before they are in force, so that a start without the API server knows them. */
  async function deliver(): Promise<void> {
    const at = arrived ?? Date.now();
    arrived = undefined;
    await store.keepPolicies(table);
    if (!begun || !table.known()) return;
    const changes = table.take();
    if (changes === undefined) return;
    owner.notify('changes', { ...changes, at });
    reportFigures();
  }

  const followerOf = (name: Versioned, collection: ListedCollection): Follower =>
    createFollower({ name, collection, figures, away, log, poke, reportFigures, reached: table.reached });
  const client = createApiClient(accessReader(settings.place, log), {
    userAgent: 'portcullis',
    rights:
      'list and watch pods, namespaces, nodes, networkpolicies.networking.k8s.io and clusternetworkpolicies.policy.networking.k8s.io',
    meanwhile: 'NetworkPolicies stay as they are',
  });
  const ended = new AbortController();
  const following = followCollections(client, table, since, followerOf, ended.signal);
  const ticking = setInterval(() => {
    reportFigures();
    store.keepPods(table);
    // Policies that the disk refused are stored later, without another change.
    if (!store.isKept()) delivering = (delivering ?? Promise.resolve()).then(() => store.keepPolicies(table));
    giveMemoryBack();
  }, figuresMs);

  owner.notify('hello');
  return {
    offer: {
      begin(state) {
        table.begin(state);
        begun = true;
        poke();
      },
      want(definition) {
        table.want(definition);
        poke();
      },
      drop: table.drop,
      putPod(id, pod, identity) {
        table.putPod(id, pod, identity);
        poke();
      },
      putNamespaces(namespaces) {
        table.putNamespaces(namespaces);
        poke();
      },
    },
    async close() {
      ended.abort();
      clearInterval(ticking);
      clearTimeout(timer);
      await Promise.all(following);
      client.close();
      await store.close(table);
    },
  };
}

/** Begins to follow the collections. @param since the version from which each is followed without a list */
function followCollections(
  client: ApiClient,
  table: ClusterTable,
  since: Readonly<Partial<Record<Versioned, string | undefined>>>,
  followerOf: (name: Versioned, collection: ListedCollection) => Follower,
  signal: AbortSignal,
): Promise<void>[] {
  const collections = {
    ...{ namespaces: table.namespaces, networkpolicies: table.policies },
    ...{ nodes: table.nodes, pods: table.pods },
  };
  const following = (['nodes', 'namespaces', 'networkpolicies', 'pods'] as const).map((name) => {
    const from = since[name];
    const collection = { ...followed[name], ...(from !== undefined && { since: from }) };
    return follow(client, collection, followerOf(name, collections[name]), signal, usualTiming);
  });
  const resource = 'clusternetworkpolicies';
  const from = since[resource];
  const optional = { ...clusterPolicies, ...(from !== undefined && { since: from }) };
  return [
    ...following,
    followOptional(client, optional, followerOf(resource, table.clusterPolicies), signal),
  ];
}

await serveThread<ClusterOwner>(
  (call) => ({
    code: 'NETWORK_POLICIES_FAILED',
    kind: 'internal',
    attempted: `serve the call ${call} of the thread that follows the NetworkPolicies of the cluster`,
    on: placeOf(settings.place),
    fix: 'report this with the daemon log',
  }),
  start,
);
