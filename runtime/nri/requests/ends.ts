import { reasonOf } from '../../../base/errors/index.ts';
import type { Init } from '../../../base/protobuf/index.ts';
import type { EventCall } from '../plugins/plugin-set.ts';
import type {
  Container,
  PodSandbox,
  StopPodSandboxRequest,
  StopPodSandboxResponse,
} from '../protocol/contract.types.ts';
import { Event } from '../protocol/contract.types.ts';
import { pluginMethods } from '../protocol/methods.ts';
import type { NriNode } from './node.ts';
import { collectUpdates } from './updates.ts';

/** A container and its pod. */
interface ContainerMessages {
  readonly pod: Init<PodSandbox>;
  readonly container: Init<Container>;
}

/** Reports a container that does not run any more, and applies the updates with which the plugins answer. */
export function reportContainerStopped(node: NriNode, messages: ContainerMessages): void {
  node.plugins.notify(
    { event: Event.STOP_CONTAINER, method: pluginMethods.stopContainer, request: messages },
    (plugin, { update }) => {
      const updates = collectUpdates(node);
      const failed = (thrown: unknown): void =>
        node.log.warn({ plugin, why: reasonOf(thrown) }, 'an update of an NRI plugin failed');
      try {
        updates.add(plugin, update);
      } catch (thrown) {
        failed(thrown);
        return;
      }
      updates.apply().catch(failed);
    },
  );
}

/** Reports a container that does not exist any more. Plugins release what they reserved for it. */
export function reportContainerRemoved(
  { plugins }: Pick<NriNode, 'plugins'>,
  messages: ContainerMessages,
): void {
  const { removeContainer: method } = pluginMethods;
  plugins.notify({ event: Event.REMOVE_CONTAINER, method, request: messages, state: messages });
}

const podStopped = (pod: Init<PodSandbox>): EventCall<StopPodSandboxRequest, StopPodSandboxResponse> => ({
  event: Event.STOP_POD_SANDBOX,
  method: pluginMethods.stopPodSandbox,
  request: { pod },
  state: { pod },
});

/** Reports a pod that was stopped. */
export function reportPodStopped({ plugins }: Pick<NriNode, 'plugins'>, pod: Init<PodSandbox>): void {
  plugins.notify(podStopped(pod));
}

/**
 * Reports a pod whose containers were stopped, and which still has its network, and waits for the plugins: a
 * plugin for networks moves its devices out of the pod's network namespace (NRI, README.md, "Pod Lifecycle
 * Events"). A plugin that fails does not prevent the end of the pod.
 */
export async function reportPodStopping(
  { plugins }: Pick<NriNode, 'plugins'>,
  pod: Init<PodSandbox>,
): Promise<void> {
  await plugins.report(podStopped(pod));
}

/** Reports a pod that does not exist any more. */
export function reportPodRemoved({ plugins }: Pick<NriNode, 'plugins'>, pod: Init<PodSandbox>): void {
  const { removePodSandbox: method } = pluginMethods;
  plugins.notify({ event: Event.REMOVE_POD_SANDBOX, method, request: { pod }, state: { pod } });
}
