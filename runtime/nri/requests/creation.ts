import type { Init } from '../../../base/protobuf/index.ts';
import type { ContainerAdjuster } from '../../containers/adjusted.ts';
import { applyChanges } from '../adjustment/apply.ts';
import type { AppliedRequest } from '../adjustment/apply.ts';
import { changesOf } from '../adjustment/change.ts';
import { createMerge } from '../adjustment/merge.ts';
import { adjustmentMessage, ownersMessage } from '../adjustment/message.ts';
import { notAllowed } from '../adjustment/refusal.ts';
import type { Container, PodSandbox } from '../protocol/contract.types.ts';
import { Event } from '../protocol/contract.types.ts';
import { pluginMethods } from '../protocol/methods.ts';
import { containerMessage } from '../view/container.ts';
import { sandboxMessage } from '../view/sandbox.ts';
import { reportContainerRemoved, reportContainerStopped } from './ends.ts';
import type { Ongoing } from './ongoing.ts';
import type { NriNode } from './node.ts';
import { requiredByPod } from './required.ts';
import { collectUpdates } from './updates.ts';

/**
 * Lets the plugins of the node adjust each container that is created. If it is not created after all, they
 * get the events of a removed container, like the plugins of containerd (UndoCreateContainer). What they
 * changed in other containers stays, as in containerd.
 */
export function createAdjuster(node: NriNode, ongoing: Ongoing): ContainerAdjuster {
  const { plugins } = node;
  /** Containers with changes that have not passed the ceilings yet. */
  const unrecorded = new Set<string>();
  /** How the plugins last saw the containers about which they were asked. */
  const asked = new Map<string, { readonly pod: Init<PodSandbox>; readonly container: Init<Container> }>();
  return {
    adjust: async ({ id, config, sandbox, imageId, verdictId, createdAt }) => {
      const name = config.metadata?.name ?? '';
      const required = requiredByPod(sandbox, name);
      plugins.requirePresent(name, required);
      const consulted = plugins.list();
      if (consulted.length === 0) return undefined;
      ongoing.begin(id);
      const counted = new Set<unknown>();
      try {
        const facts = { id, sandbox, createdAt, imageConfig: node.imageConfig(imageId) };
        const pod = sandboxMessage(sandbox);
        const merge = createMerge(name);
        const updates = collectUpdates(node, id);
        let current: Pick<AppliedRequest, 'config'> & Partial<AppliedRequest> = { config };
        await plugins.ask(
          name,
          () => {
            const request = { pod, container: containerMessage({ ...facts, ...current }) };
            asked.set(id, request);
            return { event: Event.CREATE_CONTAINER, method: pluginMethods.createContainer, request };
          },
          (plugin, { adjust, update, evict }) => {
            updates.add(plugin, update, evict);
            if (adjust === undefined) return;
            const changes = changesOf(adjust);
            if (changes.set.length + changes.removed.length === 0) return;
            merge.add(plugin, changes);
            current = applyChanges(config, merge.merged(), { hooks: node.allowedHooks });
          },
          { required, among: consulted },
        );
        const merged = merge.merged();
        const others = updates.messages();
        await plugins.ask(
          name,
          () => ({
            event: Event.VALIDATE_CONTAINER_ADJUSTMENT,
            method: pluginMethods.validateContainerAdjustment,
            failClosed: true,
            request: {
              pod,
              container: containerMessage({ ...facts, config }),
              adjust: adjustmentMessage(merged),
              update: others.update,
              owners: { owners: { ...others.owners, [id]: ownersMessage(merged) } },
              plugins: consulted.map(({ index, base }) => ({ index, name: base })),
            },
          }),
          (plugin, { reject, reason }) => {
            if (reject)
              throw notAllowed(
                { plugin, field: 'validation', key: name },
                `the plugin rejected the adjustments of other plugins: ${printable(reason)}`,
                'change the adjustments of the other plugins',
              );
          },
          { required, among: consulted },
        );
        asked.set(id, { pod, container: containerMessage({ ...facts, ...current }) });
        await updates.apply().catch((thrown: unknown) => {
          counted.add(thrown);
          throw thrown;
        });
        // A required plugin may have been lost after its answer to the first question.
        plugins.requirePresent(name, required);
        const { adjustments, beyond } = current;
        if (adjustments === undefined || beyond === undefined) return undefined;
        unrecorded.add(id);
        return {
          ...{ config: current.config, adjusted: { adjustments, beyond } },
          record: async () => {
            await node.logged(id, verdictId, adjustments);
            unrecorded.delete(id);
            node.adjusted('applied');
            node.log.info({ container: id, name, adjustments }, 'NRI plugins adjusted a container');
          },
        };
      } catch (thrown) {
        if (!counted.has(thrown)) node.adjusted('refused');
        throw thrown;
      }
    },
    ended: (id) => {
      if (unrecorded.delete(id)) node.adjusted('refused');
      ongoing.end(id);
      const messages = asked.get(id);
      asked.delete(id);
      const phase = node.containerRecords.get(id)?.phase;
      if (messages === undefined || (phase !== undefined && phase !== 'creating')) return;
      reportContainerStopped(node, messages);
      reportContainerRemoved(node, messages);
    },
  };
}

function printable(text: string): string {
  return JSON.stringify(text.slice(0, 1024));
}
