import { fieldsOf, textOf } from '../../base/kubernetes/index.ts';

/** The names of service accounts: `system:serviceaccount:NAMESPACE:NAME` (Authentication of Kubernetes). */
const serviceAccount = /^system:serviceaccount:([^:]+):/u;
/** Controllers of the control plane, which create pods for everybody. */
const ofControlPlane = 'kube-system';
const longestName = 512;

/**
 * Returns who asks, for limits: a user, or all service accounts of a namespace, because whoever may write in
 * a namespace can create service accounts. What the control plane asks is asked for the object's namespace.
 */
export function partyOf(request: unknown, namespace: string): string {
  const user = textOf(fieldsOf(fieldsOf(request)['userInfo'])['username']).slice(0, longestName);
  const [, home] = serviceAccount.exec(user) ?? [];
  if (home !== undefined && home !== ofControlPlane) return `namespace ${home}`;
  return user === '' || user.startsWith('system:') ? `namespace ${namespace}` : `user ${user}`;
}
