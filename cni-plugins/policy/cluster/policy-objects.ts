import { createCollection } from '../../../base/kubernetes/index.ts';
import type { ListedCollection } from '../../../base/kubernetes/index.ts';
import type { ClusterNetworkPolicy, ClusterPolicySet } from '../kubernetes/cluster-network-policy.ts';
import type { Labels, NetworkPolicy } from '../kubernetes/network-policy.ts';
import { readClusterPolicy } from '../kubernetes/read-cluster-policy.ts';
import { readPolicyObject } from '../kubernetes/read.ts';
import type { ClusterChanges, ClusterFigures } from './messages.ts';
import { readNamespace } from './objects.ts';
import { createPolicyMemory, tooLarge } from './policy-memory.ts';
import type { SavedPolicies } from './saved-parts.ts';

/** Policies of both kinds, and the namespaces by which they select. No side effects. */
export interface PolicyObjects {
  readonly policies: ListedCollection;
  readonly clusterPolicies: ListedCollection;
  readonly namespaces: ListedCollection;
  load(saved: SavedPolicies): void;
  /** Undefined: NetworkPolicies are not known. */
  stored(): Omit<SavedPolicies, 'versions'> | undefined;
  revision(): number;
  /** Whether policies of both kinds are known from a stored state. */
  isLoaded(): boolean;
  came(): boolean;
  current(): { readonly policies: readonly NetworkPolicy[]; readonly cluster: ClusterPolicySet };
  labelsOf(namespace: string): Labels | undefined;
  /** @param isWhole returns everything, and otherwise what changed since the last call */
  take(isWhole: boolean): Pick<ClusterChanges, 'clusterPolicies' | 'namespaces' | 'policies'>;
  figures(): Pick<ClusterFigures, 'clusterPolicies' | 'namespaces' | 'policies' | 'problems'>;
}

/** Returns a stored policy as it was read: the reason why it is not in force is its problem. */
const asRead = <T extends { readonly unreadable?: string }>(
  policy: T,
): { readonly policy: T; readonly problem?: string } => ({
  policy,
  ...(policy.unreadable !== undefined && { problem: policy.unreadable }),
});

/**
 * @param onSelection called when the selected pods or peers may differ
 * @param onNamespace called after the labels of a namespace changed
 */
export function createPolicyObjects(
  onSelection: () => void,
  onNamespace: (name: string) => void,
): PolicyObjects {
  const policies = new Map<string, NetworkPolicy>();
  /** These and namespaces are by their names, without the slash that the API's names of both begin with. */
  const clusterPolicies = new Map<string, ClusterNetworkPolicy>();
  const namespaces = new Map<string, Labels>();
  const problems = new Map<string, string>();
  const dirty = {
    policies: new Set<string>(),
    clusterPolicies: new Set<string>(),
    namespaces: new Set<string>(),
  };
  const memory = createPolicyMemory();
  let revision = 0;
  let loaded: SavedPolicies | undefined;

  function put<T>(
    map: Map<string, T>,
    key: string,
    read: { readonly policy: T; readonly problem?: string } | undefined,
    label: string,
  ): boolean {
    if (read === undefined && !map.has(key)) return false;
    if (read === undefined) map.delete(key);
    else map.set(key, read.policy);
    if (read?.problem === undefined) problems.delete(label);
    else problems.set(label, read.problem);
    revision += 1;
    onSelection();
    return true;
  }
  function putPolicy(key: string, read: ReturnType<typeof readPolicyObject>): void {
    if (put(policies, key, read, key)) dirty.policies.add(key);
    for (const large of memory.put(key, read?.policy)) {
      const policy = policies.get(large);
      if (policy === undefined) continue;
      put(policies, large, tooLarge(policy), large);
      dirty.policies.add(large);
    }
  }
  function putClusterPolicy(key: string, read: ReturnType<typeof readClusterPolicy>): void {
    if (put(clusterPolicies, key.slice(1), read, key)) dirty.clusterPolicies.add(key.slice(1));
  }
  function putNamespace(key: string, labels: Labels | undefined): void {
    const name = key.slice(1);
    if (labels === undefined) namespaces.delete(name);
    else namespaces.set(name, labels);
    revision += 1;
    dirty.namespaces.add(name);
    if (clusterPolicies.size > 0) onSelection();
    onNamespace(name);
  }

  const slashed = (map: ReadonlyMap<string, unknown>): string[] => [...map.keys()].map((name) => `/${name}`);
  const ofPolicies = createCollection(readPolicyObject, () => policies.keys(), putPolicy);
  const ofClusterPolicies = createCollection(
    readClusterPolicy,
    () => slashed(clusterPolicies),
    putClusterPolicy,
  );
  const ofNamespaces = createCollection(readNamespace, () => slashed(namespaces), putNamespace);

  const taken = <T>(
    map: ReadonlyMap<string, T>,
    changed: Set<string>,
    isWhole: boolean,
  ): (readonly [string, T | undefined])[] => {
    const keys = [...(isWhole ? map.keys() : changed)];
    changed.clear();
    return keys.map((key) => [key, map.get(key)] as const);
  };

  return {
    policies: ofPolicies,
    clusterPolicies: ofClusterPolicies,
    namespaces: ofNamespaces,
    load(saved) {
      loaded = saved;
      for (const [name, labels] of saved.namespaces) putNamespace(`/${name}`, labels);
      for (const [key, policy] of saved.policies) putPolicy(key, asRead(policy));
      for (const policy of saved.clusterPolicies ?? []) putClusterPolicy(`/${policy.name}`, asRead(policy));
    },
    stored() {
      if (loaded === undefined && !ofPolicies.came()) return undefined;
      const isClusterKnown = loaded?.clusterPolicies !== undefined || ofClusterPolicies.came();
      return {
        policies: [...policies],
        namespaces: [...namespaces],
        ...(isClusterKnown && { clusterPolicies: [...clusterPolicies.values()] }),
      };
    },
    revision: () => revision,
    isLoaded: () =>
      loaded !== undefined && (loaded.clusterPolicies !== undefined || ofClusterPolicies.came()),
    came: () => ofPolicies.came() && ofClusterPolicies.came() && ofNamespaces.came(),
    current: () => ({
      policies: [...policies.values()],
      cluster: { policies: [...clusterPolicies.values()], namespaces },
    }),
    labelsOf: (namespace) => namespaces.get(namespace),
    take: (isWhole) => ({
      policies: taken(policies, dirty.policies, isWhole),
      clusterPolicies: taken(clusterPolicies, dirty.clusterPolicies, isWhole),
      namespaces: taken(namespaces, dirty.namespaces, isWhole),
    }),
    figures: () => ({
      policies: policies.size,
      clusterPolicies: clusterPolicies.size,
      namespaces: namespaces.size,
      problems: [...problems.values()],
    }),
  };
}
