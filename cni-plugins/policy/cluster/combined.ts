import type { PolicyFolder } from '../kubernetes/folder.ts';
import type { PolicySet } from '../kubernetes/network-policy.ts';
import type { PodDescriptions, PolicyFollower } from '../kubernetes/policies.ts';
import type { ClusterPolicies } from './cluster-policies.ts';

/**
 * Returns a follower of both sources. Policies of both apply: each only adds to what is allowed, and isolates
 * the pods that it selects. For the labels of a namespace, the cluster counts more than the files. A source
 * whose policies are not known isolates every pod.
 */
export function combinePolicies(
  folder: Pick<PolicyFolder, 'current'>,
  cluster: Pick<ClusterPolicies, 'current' | 'peers' | 'pods'> | undefined,
): PolicyFollower {
  let last: readonly [unknown, unknown] | undefined;
  let lastPods: PodDescriptions | undefined;
  return {
    ...(cluster !== undefined && { peers: cluster.peers() }),
    changed() {
      const [files, api] = [folder.current(), cluster?.current()];
      const pods = cluster?.pods();
      const isOther = last === undefined || last[0] !== files || last[1] !== api;
      const arePodsOther = pods !== undefined && pods !== lastPods;
      last = [files, api];
      lastPods = pods;
      return {
        ...(isOther && { set: join(files, api) }),
        ...(arePodsOther && { pods }),
      };
    },
  };
}

function join(files: PolicySet, api: ReturnType<ClusterPolicies['current']> | undefined): PolicySet {
  if (api === undefined) return files;
  const isolated = files.isolated ?? api.isolated;
  return {
    policies: [...files.policies, ...api.policies],
    namespaces: files.namespaces,
    ...(api.cluster !== undefined && { cluster: api.cluster }),
    ...(isolated !== undefined && { isolated }),
  };
}
