import { reasonOf } from '../../../base/errors/index.ts';
import type { Init } from '../../../base/protobuf/index.ts';
import { nothingAsked } from '../../oci/profile-bounds.ts';
import { resourceChanges } from '../adjustment/change.ts';
import { describeChange } from '../adjustment/describe.ts';
import { createMerge } from '../adjustment/merge.ts';
import type { Merge } from '../adjustment/merge.ts';
import { changedResources, ownersMessage } from '../adjustment/message.ts';
import { badAdjustment, unsupported } from '../adjustment/refusal.ts';
import { withResources } from '../adjustment/resources.ts';
import type { ContainerEviction, ContainerUpdate, FieldOwners } from '../protocol/contract.types.ts';
import type { NriNode } from './node.ts';

/** Updates of containers that plugins request while one request is served. */
export interface CollectedUpdates {
  /**
   * Adds the updates of one plugin. @throws PortcullisError NRI_CONFLICT, NRI_UNSUPPORTED for evictions,
   * NRI_TOO_LARGE
   */
  add(plugin: string, updates: readonly ContainerUpdate[], evictions?: readonly ContainerEviction[]): void;
  /** Returns the updates and who set which field of each container, for plugins that validate. */
  messages(): {
    readonly update: readonly Init<ContainerUpdate>[];
    readonly owners: Readonly<Record<string, Init<FieldOwners>>>;
  };
  /**
   * Applies the updates, one container after another. If an update that may fail fails, this is logged.
   * @throws the error of the first update that must not fail
   */
  apply(): Promise<void>;
}

/** More containers than a node has. */
export const mostUpdates = 4096;

/** @param forbidden the container that is being created: it cannot be updated yet */
export function collectUpdates(node: NriNode, forbidden?: string): CollectedUpdates {
  const byContainer = new Map<string, { readonly merge: Merge; mayFail: boolean; readonly plugin: string }>();
  return {
    add: (plugin, updates, evictions = []) => {
      const [evicted] = evictions;
      if (evicted !== undefined)
        throw unsupported(
          { plugin, field: 'eviction', key: evicted.containerId },
          'Portcullis does not let plugins evict containers',
          'ask the kubelet to evict the pod',
        );
      for (const { containerId, linux, ignoreFailure } of updates) {
        const culprit = { plugin, field: 'update', key: containerId };
        if (containerId === forbidden)
          throw badAdjustment(culprit, 'this container is being created', 'adjust it instead of updating it');
        const known = byContainer.get(containerId);
        if (known === undefined && byContainer.size >= mostUpdates)
          throw badAdjustment(
            culprit,
            `the plugins update more than ${mostUpdates} containers`,
            'update fewer containers',
          );
        const entry = known ?? { merge: createMerge(containerId), mayFail: true, plugin };
        entry.mayFail &&= ignoreFailure;
        byContainer.set(containerId, entry);
        if (linux?.resources !== undefined)
          entry.merge.add(plugin, { set: resourceChanges(linux.resources), removed: [] });
      }
    },
    messages: () => {
      const all = [...byContainer].map(([id, { merge, mayFail }]) => ({ id, mayFail, of: merge.merged() }));
      return {
        update: all.map(({ id, mayFail, of }) => ({
          containerId: id,
          linux: { resources: changedResources(of) },
          ignoreFailure: mayFail,
        })),
        owners: Object.fromEntries(all.map(({ id, of }) => [id, ownersMessage(of)])),
      };
    },
    apply: async () => {
      for (const [id, { merge, mayFail, plugin }] of byContainer)
        try {
          await updateOne(node, plugin, id, merge);
        } catch (thrown) {
          node.adjusted('refused');
          if (!mayFail) throw thrown;
          node.log.warn(
            { plugin, container: id, why: reasonOf(thrown) },
            'an update of an NRI plugin failed',
          );
        }
    },
  };
}

async function updateOne(node: NriNode, plugin: string, id: string, merge: Merge): Promise<void> {
  const record = node.containerRecords.get(id);
  if (record === undefined || record.phase === 'creating' || record.phase === 'removing')
    throw badAdjustment(
      { plugin, field: 'update', key: id },
      'this container does not exist',
      'update an existing container',
    );
  const { set } = merge.merged();
  if (set.length === 0) return;
  const adjustments = set.map(describeChange);
  await node.containers().updateAdjusted(id, {
    ...{ resources: withResources(nothingAsked, set), adjustments },
    record: () => node.logged(id, record.verdictId, adjustments),
  });
  node.adjusted('applied');
  node.log.info({ container: id, adjustments }, 'NRI plugins updated a container');
}
