import { fieldsOf, textOf } from '../../base/kubernetes/index.ts';

/** The names of service accounts: `system:serviceaccount:NAMESPACE:NAME` (Authentication of Kubernetes). */
const serviceAccount = /^system:serviceaccount:([^:]+):/u;
/** Controllers of the control plane, which create pods for everybody. */
const ofControlPlane = 'kube-system';
const longestName = 512;

/**
 * Returns the party that a review counts for in limits: a user, or all service accounts of a namespace,
 * because a user who may write in a namespace can create service accounts. A request of the control plane
 * counts for the namespace of the object.
 */
export function partyOf(request: unknown, namespace: string): string {
  const user = textOf(fieldsOf(fieldsOf(request)['userInfo'])['username']).slice(0, longestName);
  const [, home] = serviceAccount.exec(user) ?? [];
  if (home !== undefined && home !== ofControlPlane) return `namespace ${home}`;
  return user === '' || user.startsWith('system:') ? `namespace ${namespace}` : `user ${user}`;
}
