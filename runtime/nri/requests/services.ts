import { describeChange } from '../adjustment/describe.ts';
import { resourceChanges } from '../adjustment/change.ts';
import { createMerge } from '../adjustment/merge.ts';
import { withResources } from '../adjustment/resources.ts';
import type { ContainerService } from '../../containers/container-service.ts';
import type { PodResources } from '../../pods/resources.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { Event } from '../protocol/contract.types.ts';
import { pluginMethods } from '../protocol/methods.ts';
import { resourcesMessage } from '../view/container.ts';
import { sandboxMessage } from '../view/sandbox.ts';
import { reportPodRemoved, reportPodStopping } from './ends.ts';
import { recordMessages } from './messages.ts';
import type { NriNode } from './node.ts';
import type { Ongoing } from './ongoing.ts';
import { collectUpdates } from './updates.ts';

/**
 * Returns the function that asks the plugins about a pod that exists and is not recorded as ready yet. If the
 * pod is refused, the plugins get the events of a removed pod. The function with which it resolves reports
 * these events too: call it if the pod never becomes ready, before its network is removed. Undefined: no
 * plugin was asked.
 */
export function podApproval(
  node: NriNode,
  ongoing: Ongoing,
): (record: SandboxRecord) => Promise<(() => Promise<void>) | undefined> {
  const { plugins } = node;
  return async (record) => {
    if (plugins.list().length === 0) return undefined;
    ongoing.begin(record.id);
    const pod = sandboxMessage(record);
    const withdraw = async (): Promise<void> => {
      // A plugin that connects waits for this end, and its answer is waited for below.
      ongoing.end(record.id);
      await reportPodStopping(node, pod);
      reportPodRemoved(node, pod);
    };
    try {
      await plugins.ask(record.name, () => ({
        event: Event.RUN_POD_SANDBOX,
        method: pluginMethods.runPodSandbox,
        ...{ request: { pod }, state: { pod } },
      }));
      return withdraw;
    } catch (thrown) {
      await withdraw();
      throw thrown;
    }
  };
}

/**
 * Returns the function that reports a pod before its network is removed. It never fails.
 * @param stopped gets the ids of these pods
 */
export function podStops(node: NriNode, stopped: Set<string>): (record: SandboxRecord) => Promise<void> {
  return async (record) => {
    if (stopped.has(record.id) || node.plugins.list().length === 0) return;
    stopped.add(record.id);
    await reportPodStopping(node, sandboxMessage(record));
  };
}

/** Returns the service of containers, which asks the plugins before a start and before an update. */
export function watchedContainers(node: NriNode, service: ContainerService): ContainerService {
  const { plugins } = node;
  return {
    ...service,
    start: async (idOrPrefix) => {
      const record = service.require(idOrPrefix);
      const messages = record.phase === 'created' ? recordMessages(node, record) : undefined;
      if (messages !== undefined)
        await plugins.ask(record.id, () => ({
          event: Event.START_CONTAINER,
          method: pluginMethods.startContainer,
          request: messages,
          state: messages,
        }));
      await service.start(record.id);
    },
    update: async (idOrPrefix, resources) => {
      const record = service.require(idOrPrefix);
      const messages = recordMessages(node, record);
      if (resources === undefined || messages === undefined || plugins.list().length === 0)
        return service.update(record.id, resources);
      const merge = createMerge(record.id);
      const others = collectUpdates(node);
      await plugins.ask(
        record.id,
        () => ({
          event: Event.UPDATE_CONTAINER,
          method: pluginMethods.updateContainer,
          request: {
            ...messages,
            linuxResources: resourcesMessage(withResources(resources, merge.merged().set)),
          },
        }),
        (plugin, { update, evict }) => {
          const own = update.filter(({ containerId }) => containerId === record.id);
          others.add(
            plugin,
            update.filter((each) => !own.includes(each)),
            evict,
          );
          for (const { linux } of own)
            if (linux?.resources !== undefined)
              merge.add(plugin, { set: resourceChanges(linux.resources), removed: [] });
        },
      );
      const { set } = merge.merged();
      const adjustments = set.map(describeChange);
      // First the others: if one of them fails, the limits of this container are as before.
      await others.apply();
      await service.updateAdjusted(record.id, {
        ...{ resources: withResources(resources, set), adjustments },
        ...(adjustments.length > 0 && {
          record: () => node.logged(record.id, record.verdictId, adjustments),
        }),
      });
      const after = recordMessages(node, service.require(record.id));
      if (after === undefined) return;
      plugins.notify({
        event: Event.POST_UPDATE_CONTAINER,
        method: pluginMethods.postUpdateContainer,
        request: after,
        state: after,
      });
    },
  };
}

/** Returns the updates of pods, which ask the plugins first. */
export function watchedPodResources(node: NriNode, resources: PodResources): PodResources {
  const { plugins, sandboxRecords } = node;
  return {
    update: async (id, asked) => {
      const record = sandboxRecords.find(id);
      if (record === undefined) return resources.update(id, asked);
      const { overhead, resources: sum } = asked;
      await plugins.ask(record.name, () => ({
        event: Event.UPDATE_POD_SANDBOX,
        method: pluginMethods.updatePodSandbox,
        request: {
          pod: sandboxMessage(record),
          ...(overhead !== undefined && { overheadLinuxResources: resourcesMessage(overhead) }),
          ...(sum !== undefined && { linuxResources: resourcesMessage(sum) }),
        },
      }));
      await resources.update(record.id, asked);
      const pod = sandboxMessage(sandboxRecords.get(record.id) ?? record);
      plugins.notify({
        event: Event.POST_UPDATE_POD_SANDBOX,
        method: pluginMethods.postUpdatePodSandbox,
        request: { pod },
        state: { pod },
      });
    },
  };
}
