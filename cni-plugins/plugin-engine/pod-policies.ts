import type { PluginCall } from '../calls/plugin-call.ts';
import { policiesNotEnforced } from '../calls/plugin-errors.ts';
import { bareType } from '../calls/plugin-type.ts';
import type { NetworkDatabase } from '../database/database.ts';
import { createFollowedPolicies } from '../database/followed-policies.ts';
import type { PluginAttachment } from '../database/plugin-attachments.ts';
import { createPolicedPodStore } from '../database/policed-pods.ts';
import type { Host } from '../namespaces/caller.ts';
import type { PodName } from '../spec/pod-name.ts';

/**
 * NetworkPolicies on the links that plugins create for pods of other runtimes. The link denies everything
 * from its creation, until its rules are in force.
 */
export interface PodPolicies {
  /**
   * Returns the pod of an ADD to whose link NetworkPolicies apply; undefined if none do.
   * @throws NETWORK_POLICIES_NOT_ENFORCED if they should apply, and nothing here applies them
   */
  podOf(call: PluginCall, host: Host): PodName | undefined;
  /** Records the pod. Call it inside the transaction that begins the plugin attachment. */
  begin(part: PluginAttachment, pod: PodName): void;
  /** Makes sure that what denies the link exists. Does nothing for other attachments, like the next ones. */
  expect(part: PluginAttachment): void;
  /**
   * Records the link that the plugin created. Call it inside the transaction that makes the attachment ready.
   * @throws NETWORK_RULES_UNSUPPORTED
   */
  settle(part: PluginAttachment): void;
  /** Opens the link as far as the policies allow. */
  open(part: PluginAttachment): void;
  /** Opens the link if the process that created it was killed before it could. */
  reopen(part: PluginAttachment): void;
  /** Closes the link, and removes its rules. */
  close(part: PluginAttachment): void;
}

/** Plugins whose links have an end on the host, where rules apply: docs/decisions/0043. */
const heldTypes: readonly string[] = ['bridge', 'ptp'];

/**
 * Returns the pod of another runtime whose link this ADD creates. Calls of our own runtime are excluded: its
 * own record has the rules.
 */
export function podOfOtherRuntime(
  call: PluginCall,
  isOwnPod: (containerId: string) => boolean,
): PodName | undefined {
  const { args, key, type, bound } = call;
  const [namespace = '', name = '', uid = ''] = [
    args['K8S_POD_NAMESPACE'],
    args['K8S_POD_NAME'],
    args['K8S_POD_UID'],
  ];
  if (bound === true || namespace === '' || name === '' || !heldTypes.includes(bareType(type)))
    return undefined;
  return isOwnPod(key.containerId) ? undefined : { namespace, name, uid };
}

/**
 * For a process without the daemon: it cannot apply policies, so it attaches no pod to which the daemon would
 * apply them. It removes pods; the daemon forgets their rules when it starts.
 */
export function refusingPolicies(database: NetworkDatabase): PodPolicies {
  const followed = createFollowedPolicies(database);
  const store = createPolicedPodStore(database);
  const nothing = (): void => undefined;
  return {
    podOf(call) {
      const pod = podOfOtherRuntime(call, store.isOwnPod);
      if (pod !== undefined && followed.areFollowed())
        throw policiesNotEnforced(`${pod.namespace}/${pod.name}`);
      return undefined;
    },
    begin: nothing,
    expect: nothing,
    settle: nothing,
    open: nothing,
    reopen: nothing,
    close: nothing,
  };
}
