import { reasonOf } from '../../../base/errors/index.ts';
import { describeChange } from '../adjustment/describe.ts';
import { resourceChanges } from '../adjustment/change.ts';
import { createMerge } from '../adjustment/merge.ts';
import { withResources } from '../adjustment/resources.ts';
import type { ContainerService } from '../../containers/container-service.ts';
import type { PodResources } from '../../pods/resources.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { SandboxService } from '../../pods/sandbox-service.ts';
import { Event } from '../protocol/contract.types.ts';
import { pluginMethods } from '../protocol/methods.ts';
import { resourcesMessage } from '../view/container.ts';
import { sandboxMessage } from '../view/sandbox.ts';
import { recordMessages } from './messages.ts';
import type { NriNode } from './node.ts';
import { collectUpdates } from './updates.ts';

/** Returns the service of pods, which asks the plugins before a new pod is reported as running. */
export function watchedSandboxes(node: NriNode, service: SandboxService): SandboxService {
  const { plugins, sandboxRecords, log } = node;
  /** Pods that plugins know. A repeated request waits for the answers to the first one. */
  const known = new Map<string, Promise<void>>(
    sandboxRecords.list().map(({ id }) => [id, Promise.resolve()]),
  );
  sandboxRecords.onChange(({ before, after }) => {
    if (before !== undefined && after === undefined) known.delete(before.id);
  });
  const ask = async (record: SandboxRecord): Promise<void> => {
    const pod = sandboxMessage(record);
    try {
      await plugins.ask(record.name, () => ({
        event: Event.RUN_POD_SANDBOX,
        method: pluginMethods.runPodSandbox,
        request: { pod },
        state: { pod },
      }));
    } catch (thrown) {
      await service
        .remove(record.id)
        .catch((second: unknown) =>
          log.warn(
            { sandbox: record.id, why: reasonOf(second) },
            'a pod that a plugin refused was not removed',
          ),
        );
      throw thrown;
    }
  };
  return {
    ...service,
    run: async (config, runtimeHandler) => {
      const record = await service.run(config, runtimeHandler);
      const asked = known.get(record.id) ?? ask(record);
      known.set(record.id, asked);
      await asked;
      return record;
    },
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
      await service.updateAdjusted(record.id, {
        resources: withResources(resources, set),
        adjustments: set.map(describeChange),
      });
      await others.apply();
      const after = recordMessages(node, service.require(record.id));
      if (after === undefined) return;
      plugins.tell({
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
      plugins.tell({
        event: Event.POST_UPDATE_POD_SANDBOX,
        method: pluginMethods.postUpdatePodSandbox,
        request: { pod },
        state: { pod },
      });
    },
  };
}
