import { reasonOf } from '../../../base/errors/index.ts';
import { badAdjustment } from '../adjustment/refusal.ts';
import type { PluginOptions } from '../plugins/connected-plugin.ts';
import type { ContainerUpdate } from '../protocol/contract.types.ts';
import type { NriNode } from './node.ts';
import { collectUpdates, mostUpdates } from './updates.ts';

/**
 * Applies updates that a plugin sends on its own initiative, and returns the updates that failed.
 * @throws PortcullisError NRI_BAD_ADJUSTMENT for too many updates, NRI_UNSUPPORTED for evictions: nothing is
 * applied then
 */
export async function unsolicited(
  node: NriNode,
  plugin: string,
  request: Parameters<PluginOptions['update']>[1],
  signal: AbortSignal,
): Promise<readonly ContainerUpdate[]> {
  const failed: ContainerUpdate[] = [];
  if (request.update.length > mostUpdates)
    throw badAdjustment(
      { plugin, field: 'update', key: '' },
      `it updates ${request.update.length} containers`,
      `update at most ${mostUpdates} containers`,
    );
  // Before any update: the answer to a request that is refused does not say which updates failed.
  collectUpdates(node).add(plugin, [], request.evict);
  for (const update of request.update) {
    // No caller would receive the result of the other updates.
    if (signal.aborted) break;
    try {
      const one = collectUpdates(node);
      one.add(plugin, [{ ...update, ignoreFailure: false }]);
      await one.apply();
    } catch (thrown) {
      node.log.warn(
        { plugin, container: update.containerId.slice(0, 128), why: reasonOf(thrown) },
        'an update of an NRI plugin failed',
      );
      if (!update.ignoreFailure) failed.push(update);
    }
  }
  return failed;
}
