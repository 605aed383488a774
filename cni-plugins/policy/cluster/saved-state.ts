import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SetStore, SetStoreOptions } from '../../followed-files/stored-set.ts';
import type { ClusterTable, SavedPods, SavedPolicies } from './cluster-table.ts';
import type { ClusterSettings } from './messages.ts';

/**
 * The last state of the cluster on disk: for a start while the API server cannot be reached. Policies and
 * namespaces are stored before they are in force, pods now and then.
 */
export interface SavedState {
  /** @returns undefined when nothing is stored, or it is of another cluster or damaged */
  last(): { readonly policies: SavedPolicies; readonly pods: SavedPods } | undefined;
  /** Resolves when the policies are on disk, or after a moment: a full disk must not keep a policy away. */
  keepPolicies(table: Pick<ClusterTable, 'saved' | 'figures'>): Promise<void>;
  /** Whether the last policies that were given are on disk. */
  isKept(): boolean;
  /** Stores the pods, at most every ten seconds. */
  keepPods(table: Pick<ClusterTable, 'savedPods' | 'figures'>): void;
  close(table: Pick<ClusterTable, 'savedPods' | 'figures'>): Promise<void>;
}

/** Change with the meaning of what is stored. */
const formats = { policies: 'portcullis-cluster-policies 1', pods: 'portcullis-cluster-pods 1' } as const;
const podsEveryMs = 10_000;
const patienceMs = 500;
const againMs = 50;

/** Names a cluster, for messages and to recognise its stored state. */
export const placeOf = ({ kubeconfig, servers = [] }: ClusterSettings['place']): string =>
  kubeconfig ?? ['the service account of the pod', ...servers].join(' ');

export function openSavedState({
  settings: { storedAt, place },
  open,
  log,
}: {
  readonly settings: Pick<ClusterSettings, 'place' | 'storedAt'>;
  readonly open: <T>(options: SetStoreOptions) => SetStore<T>;
  readonly log: SetStoreOptions['log'];
}): SavedState {
  const stores = {
    policies: open<SavedPolicies>({
      path: `${storedAt}-policies`,
      format: formats.policies,
      what: 'NetworkPolicies of the cluster',
      log,
    }),
    pods: open<SavedPods>({
      path: `${storedAt}-pods`,
      format: formats.pods,
      what: 'pods of the cluster',
      log,
    }),
  };
  /** Stamps of another process mean another state. */
  const run = randomUUID();
  const written = { policies: -1, pods: -1 };
  let podsAt = -Infinity;

  const keep = <T>(store: SetStore<T>, revision: number, reading: T): void =>
    store.keep({
      folder: placeOf(place),
      identity: '',
      files: [{ name: 'state', stamp: `${run} ${revision}`, reading }],
    });
  /** @param again a store takes nothing while it writes */
  const settled = async (store: Pick<SetStore<unknown>, 'isKept'>, again: () => void): Promise<void> => {
    const end = performance.now() + patienceMs;
    for (let next = performance.now() + againMs; !store.isKept() && performance.now() < end;) {
      await sleep(2);
      if (performance.now() < next) continue;
      next += againMs;
      again();
    }
  };
  const lastOf = <T>(store: SetStore<T>): T | undefined => {
    const found = store.last();
    if (found === undefined) return undefined;
    if (found === 'damaged') {
      log.error({ storedAt }, 'the stored state of the cluster is damaged: it is read from the API server');
      return undefined;
    }
    return found.folder === placeOf(place) ? found.files[0]?.reading : undefined;
  };
  const keepPods: SavedState['keepPods'] = (table) => {
    const { pods, revision } = table.savedPods();
    if (!table.figures().synced || (revision === written.pods && stores.pods.isKept())) return;
    written.pods = revision;
    podsAt = performance.now();
    keep(stores.pods, revision, pods);
  };

  return {
    last() {
      const [policies, pods] = [lastOf(stores.policies), lastOf(stores.pods)];
      return policies === undefined ? undefined : { policies, pods: pods ?? [] };
    },
    async keepPolicies(table) {
      // A list that is not complete is not a state.
      if (!table.figures().synced) return;
      const keepNow = (): void => {
        const { policies, revision } = table.saved();
        if (revision === written.policies && stores.policies.isKept()) return;
        written.policies = revision;
        keep(stores.policies, revision, policies);
      };
      keepNow();
      await settled(stores.policies, keepNow);
    },
    isKept: () => stores.policies.isKept(),
    keepPods(table) {
      if (performance.now() - podsAt >= podsEveryMs) keepPods(table);
    },
    async close(table) {
      keepPods(table);
      await settled(stores.pods, () => keepPods(table));
    },
  };
}
