import type { DaemonConfig } from './types.ts';

/** Returns the files and folders of the node's policy; none if it follows releases or objects. */
export const ownPolicyPaths = ({
  policy,
  policySubscription,
  cluster,
}: Pick<DaemonConfig, 'cluster' | 'policy' | 'policySubscription'>): readonly string[] =>
  policySubscription !== undefined || cluster?.policies === true ? [] : policy;
