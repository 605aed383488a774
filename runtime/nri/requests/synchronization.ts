import { PortcullisError } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import type { Init } from '../../../base/protobuf/index.ts';
import type { ConnectedPlugin } from '../plugins/connected-plugin.ts';
import type { Container, PodSandbox } from '../protocol/contract.types.ts';
import { pluginMethods } from '../protocol/methods.ts';
import { sandboxMessage } from '../view/sandbox.ts';
import { recordMessages } from './messages.ts';
import type { NriNode } from './node.ts';
import type { Ongoing } from './ongoing.ts';
import { collectUpdates } from './updates.ts';

/**
 * Bytes of one message: a quarter of the maximum, because the objects are measured one by one, before the
 * message is encoded.
 */
const mostBytes = 1024 * 1024;

/**
 * Sends a plugin all pods, and all containers that have not ended, before it gets any event, and applies its
 * updates. A plugin that does not accept several messages is disconnected if one message is not enough.
 * @param waitMs how long to wait for creations that began without this plugin
 * @throws PortcullisError NRI_PLUGIN_LOST, NRI_PLUGIN_REFUSED, NRI_SYNCHRONIZATION, and the errors of updates
 */
export async function synchronize(
  node: NriNode,
  ongoing: Pick<Ongoing, 'settled'>,
  plugin: ConnectedPlugin,
  waitMs: number,
): Promise<void> {
  const updates = collectUpdates(node);
  await plugin.exclusively(async (call) => {
    await ongoing.settled(waitMs);
    // Also stopped pods, as in containerd: the plugin will get the event of their removal.
    const pods = node.sandboxRecords
      .list()
      .filter(({ phase }) => phase !== 'creating')
      .map((record) => ({ pods: [sandboxMessage(record)], containers: [] }));
    const containers = node.containerRecords
      .list()
      .filter(({ phase }) => phase === 'created' || phase === 'starting' || phase === 'running')
      .flatMap((record) => recordMessages(node, record) ?? [])
      .map(({ container }) => ({ pods: [], containers: [container] }));
    const parts = packed([...pods, ...containers]);
    for (const [index, part] of parts.entries()) {
      const more = index < parts.length - 1;
      const response = await call(pluginMethods.synchronize, { ...part, more });
      if (more && (!response.more || response.update.length > 0)) throw notSplit(plugin.name, parts.length);
      updates.add(plugin.name, response.update);
    }
  });
  await updates.apply();
}

interface Part {
  readonly pods: Init<PodSandbox>[];
  readonly containers: Init<Container>[];
}

/** Packs the objects into as few messages as their sizes allow; at least one. */
function packed(objects: readonly Part[]): Part[] {
  let last: Part = { pods: [], containers: [] };
  const parts = [last];
  let size = 0;
  for (const object of objects) {
    const bytes = pluginMethods.synchronize.request.encode(object).length;
    if (size > 0 && size + bytes > mostBytes) {
      last = { pods: [], containers: [] };
      parts.push(last);
      size = 0;
    }
    append(last.pods, object.pods);
    append(last.containers, object.containers);
    size += bytes;
  }
  return parts;
}

function notSplit(plugin: string, parts: number): PortcullisError {
  return new PortcullisError({
    code: 'NRI_SYNCHRONIZATION',
    kind: 'precondition',
    attempted: 'synchronize NRI plugin',
    on: plugin,
    why: `the pods and containers of the node need ${parts} messages, and it accepts only one`,
    fix: 'build the plugin with a newer NRI version',
  });
}
