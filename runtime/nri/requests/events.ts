import { reasonOf } from '../../../base/errors/index.ts';
import type { ContainerRecord } from '../../containers/record.ts';
import type { RecordChange } from '../../state/records.ts';
import { Event } from '../protocol/contract.types.ts';
import { pluginMethods } from '../protocol/methods.ts';
import { sandboxMessage } from '../view/sandbox.ts';
import { recordMessages } from './messages.ts';
import type { NriNode } from './node.ts';
import type { Ongoing } from './ongoing.ts';
import { collectUpdates } from './updates.ts';

/**
 * Reports the changes of pods and containers to the plugins, whoever requested them: from their durable
 * records, after the change.
 * @returns a function that stops it
 */
export function reportEvents(node: NriNode, ongoing: Pick<Ongoing, 'end'>): () => void {
  const { plugins, containerRecords, sandboxRecords } = node;
  const stops = [
    containerRecords.onChange((change) => {
      if (plugins.list().length > 0) reportContainer(node, change);
    }),
    sandboxRecords.onChange(({ before, after }) => {
      const id = (after ?? before)?.id;
      if (id !== undefined && after?.phase !== 'creating') ongoing.end(id);
      if (before === undefined || plugins.list().length === 0) return;
      const pod = sandboxMessage(after ?? before);
      const told = { request: { pod }, state: { pod } };
      if (before.phase !== 'stopped' && after?.phase === 'stopped')
        plugins.tell({ event: Event.STOP_POD_SANDBOX, method: pluginMethods.stopPodSandbox, ...told });
      // A pod that is still in the phase creating is not reported. If plugins refused it, podApproval reports
      // its end.
      if (after === undefined && before.phase !== 'creating')
        plugins.tell({ event: Event.REMOVE_POD_SANDBOX, method: pluginMethods.removePodSandbox, ...told });
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

function reportContainer(node: NriNode, { before, after }: RecordChange<ContainerRecord>): void {
  const { plugins } = node;
  const record = after ?? before;
  if (before === undefined || record === undefined) return;
  const messages = recordMessages(node, record);
  if (messages === undefined) return;
  const told = { request: messages, state: messages };
  if (before.phase === 'creating' && after?.phase === 'created')
    plugins.tell({ event: Event.POST_CREATE_CONTAINER, method: pluginMethods.postCreateContainer, ...told });
  if (before.startedAt === '0' && after !== undefined && after.startedAt !== '0')
    plugins.tell({ event: Event.POST_START_CONTAINER, method: pluginMethods.postStartContainer, ...told });
  if (before.phase !== 'exited' && after?.phase === 'exited')
    plugins.tell(
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
  if (after === undefined && before.phase !== 'creating')
    plugins.tell({ event: Event.REMOVE_CONTAINER, method: pluginMethods.removeContainer, ...told });
}
