import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SetStore, SetStoreOptions } from '../../followed-files/stored-set.ts';
import type { ClusterTable } from './cluster-table.ts';
import type { ClusterSettings } from './messages.ts';
import type { SavedParts } from './saved-parts.ts';

/**
 * The last state of the cluster on disk: for a start while the API server cannot be reached. What decides
 * about pods of this node is stored before it is in force, pods of other nodes now and then.
 */
export interface SavedState {
  /**
   * Returns what is stored. A part is absent if it is not stored, belongs to another cluster, or is damaged.
   */
  last(): Partial<SavedParts>;
  /** Resolves when the policies are on disk, or after a moment: a full disk must not keep a policy away. */
  keepPolicies(table: Pick<ClusterTable, 'saved'>): Promise<void>;
  /** Whether the last policies that were given are on disk. */
  isKept(): boolean;
  /** Stores the pods of all nodes, at most every ten seconds. */
  keepPods(table: Pick<ClusterTable, 'saved'>): void;
  close(table: Pick<ClusterTable, 'saved'>): Promise<void>;
}

type Part = keyof SavedParts;
/** The format changes with the meaning of what is stored. */
const formats: Readonly<Record<Part, { readonly format: string; readonly what: string }>> = {
  policies: { format: 'portcullis-cluster-policies 1', what: 'NetworkPolicies of the cluster' },
  own: { format: 'portcullis-cluster-own 1', what: 'pods of the node' },
  nodes: { format: 'portcullis-cluster-nodes 1', what: 'nodes of the cluster' },
  pods: { format: 'portcullis-cluster-pods 2', what: 'pods of the cluster' },
};
const before: readonly Part[] = ['policies', 'own', 'nodes'];
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
  const store = <One extends Part>(part: One): SetStore<SavedParts[One]> =>
    open({ path: `${storedAt}-${part}`, ...formats[part], log });
  const stores: { readonly [One in Part]: SetStore<SavedParts[One]> } = {
    ...{ policies: store('policies'), own: store('own') },
    ...{ nodes: store('nodes'), pods: store('pods') },
  };
  /** A stamp that another process wrote describes another state. */
  const run = randomUUID();
  const written = { policies: -1, own: -1, nodes: -1, pods: -1 };
  let podsAt = -Infinity;

  const keep = (part: Part, table: Pick<ClusterTable, 'saved'>): void => {
    const found = table.saved(part);
    if (found === undefined || (found.revision === written[part] && stores[part].isKept())) return;
    const { value, revision } = found;
    written[part] = revision;
    (stores[part] as SetStore<unknown>).keep({
      folder: placeOf(place),
      identity: '',
      files: [{ name: 'state', stamp: `${run} ${revision}`, reading: value }],
    });
  };
  const areKept = (parts: readonly Part[]): boolean => parts.every((part) => stores[part].isKept());
  /** A store accepts nothing while it writes, so the part is offered again. */
  const settled = async (parts: readonly Part[], table: Pick<ClusterTable, 'saved'>): Promise<void> => {
    const keepAll = (): void => {
      for (const part of parts) keep(part, table);
    };
    keepAll();
    const end = performance.now() + patienceMs;
    for (let next = performance.now() + againMs; !areKept(parts) && performance.now() < end;) {
      await sleep(2);
      if (performance.now() < next) continue;
      next += againMs;
      keepAll();
    }
  };
  const lastOf = <One extends Part>(part: One): SavedParts[One] | undefined => {
    const found = stores[part].last();
    if (found === undefined) return undefined;
    if (found === 'damaged') {
      log.error(
        { storedAt: `${storedAt}-${part}` },
        'the stored state of the cluster is damaged: it is read from the API server',
      );
      return undefined;
    }
    return found.folder === placeOf(place) ? found.files[0]?.reading : undefined;
  };

  return {
    last() {
      const [policies, own, nodes, pods] = [
        lastOf('policies'),
        lastOf('own'),
        lastOf('nodes'),
        lastOf('pods'),
      ];
      return {
        ...(policies !== undefined && { policies }),
        ...(own !== undefined && { own }),
        ...(nodes !== undefined && { nodes }),
        ...(pods !== undefined && { pods }),
      };
    },
    keepPolicies: (table) => settled(before, table),
    isKept: () => areKept(before),
    keepPods(table) {
      if (performance.now() - podsAt < podsEveryMs) return;
      podsAt = performance.now();
      keep('pods', table);
    },
    close: (table) => settled([...before, 'pods'], table),
  };
}
