import type { ContainerRecord } from '../../containers/record.ts';
import type { RecordChange } from '../../state/records.ts';
import { Event } from '../protocol/contract.types.ts';
import { pluginMethods } from '../protocol/methods.ts';
import { sandboxMessage } from '../view/sandbox.ts';
import {
  reportContainerRemoved,
  reportContainerStopped,
  reportPodRemoved,
  reportPodStopped,
} from './ends.ts';
import { recordMessages } from './messages.ts';
import type { NriNode } from './node.ts';
import type { Ongoing } from './ongoing.ts';

/**
 * Reports the changes of pods and containers to the plugins, whoever requested them: from their durable
 * records, after the change.
 * @param stopped the ids of pods whose stop was reported before their network was removed
 * @returns a function that stops it
 */
export function reportEvents(
  node: NriNode,
  ongoing: Pick<Ongoing, 'end'>,
  stopped: Set<string> = new Set(),
): () => void {
  const { plugins, containerRecords, sandboxRecords } = node;
  const stops = [
    containerRecords.onChange((change) => {
      if (plugins.list().length > 0) reportContainer(node, change);
    }),
    sandboxRecords.onChange(({ before, after }) => {
      const id = (after ?? before)?.id;
      if (id !== undefined && after?.phase !== 'creating') ongoing.end(id);
      const isEnd = after === undefined || after.phase === 'stopped';
      const isReported = id !== undefined && isEnd && stopped.delete(id);
      if (before === undefined || plugins.list().length === 0) return;
      const pod = sandboxMessage(after ?? before);
      if (before.phase !== 'stopped' && after?.phase === 'stopped' && !isReported)
        reportPodStopped(node, pod);
      // The end of a pod that plugins were asked about, and that never was ready, is reported by podApproval.
      if (after === undefined && before.phase !== 'creating') reportPodRemoved(node, pod);
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
  const content = { request: messages, state: messages };
  if (before.phase === 'creating' && after?.phase === 'created')
    plugins.notify({
      event: Event.POST_CREATE_CONTAINER,
      method: pluginMethods.postCreateContainer,
      ...content,
    });
  if (before.startedAt === '0' && after !== undefined && after.startedAt !== '0')
    plugins.notify({
      event: Event.POST_START_CONTAINER,
      method: pluginMethods.postStartContainer,
      ...content,
    });
  // A container that is removed while it runs does not pass the phase exited: the removal ends its process.
  const endsRemoved = after === undefined && before.phase === 'removing' && before.finishedAt === '0';
  if ((before.phase !== 'exited' && after?.phase === 'exited') || endsRemoved)
    reportContainerStopped(node, messages);
  // The end of a container that never was created is reported by createAdjuster.
  if (after === undefined && before.phase !== 'creating') reportContainerRemoved(node, messages);
}
