import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ResourceKernel } from '../plugins/contract/contract.ts';
import { kindOf } from '../plugins/registry.ts';
import type { Host } from '../namespaces/caller.ts';
import { amendedPart } from './comparison.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import { entranceOf } from './plugin-removal.ts';
import type { PluginRemoval } from './plugin-removal.ts';
import type { PodPolicies } from './pod-policies.ts';

/** Compares the attachments of plugins with their records, and recreates what other programs removed. */
export interface PluginRepair {
  repair(host: Host): void;
  /**
   * Repairs unless the last comparison took long. Runtimes call STATUS every few seconds for each network.
   * With many attachments, the comparison takes at most a tenth of the time.
   */
  repairInTime(host: Host): void;
}

export interface PluginRepairDeps {
  readonly parts: PluginAttachmentStore;
  readonly act: PluginRemoval['act'];
  readonly policies: Pick<PodPolicies, 'reopen'>;
  /** Returns whether the ADD that created this attachment still waits for the kernel. */
  readonly isAwaited: (attachment: number) => boolean;
  readonly log: Pick<Logger, 'warn'>;
}

/** Up to this many plugin attachments are compared every time. */
const fewParts = 32;

/** Creates the repair; compares nothing yet. */
export function createPluginRepair({
  parts: pluginAttachments,
  act,
  policies,
  isAwaited,
  log,
}: PluginRepairDeps): PluginRepair {
  const restsUntil = new Map<string, number>();

  const repairPart = (pluginAttachment: PluginAttachment, kernel: ResourceKernel): void => {
    if (kernel.pod === undefined || isAwaited(pluginAttachment.attachment)) return;
    for (const resource of pluginAttachment.resources) {
      const kind = kindOf(resource);
      const differences = kind.differences(resource, kernel, pluginAttachment.key);
      if (differences.length === 0) continue;
      log.warn(
        { ...pluginAttachment.key, type: pluginAttachment.type, differences },
        'an attachment differs from its record; it is repaired',
      );
      kind.ensure(resource, kernel, pluginAttachment.key);
      // The next check finds and completes what is pending.
      kind.complete?.(resource, kernel, 0);
    }
    policies.reopen(pluginAttachment);
  };

  /** @returns how many plugin attachments were compared */
  const repair = (host: Host): number =>
    act(host, () => {
      const all = pluginAttachments.all(host.namespaceId);
      for (const pluginAttachment of all) {
        try {
          host.withPod(pluginAttachment.netns, entranceOf(pluginAttachment), (kernel) =>
            repairPart(amendedPart(pluginAttachment, pluginAttachments.after(pluginAttachment)), kernel),
          );
        } catch (thrown) {
          log.warn(
            { ...pluginAttachment.key, type: pluginAttachment.type, why: reasonOf(thrown) },
            'an attachment differs from its record and could not be repaired',
          );
        }
      }
      return all.length;
    });

  return {
    repair: (host) => void repair(host),
    repairInTime(host) {
      const started = performance.now();
      if (started < (restsUntil.get(host.namespaceId) ?? 0)) return;
      const count = repair(host);
      const ended = performance.now();
      if (count > fewParts) restsUntil.set(host.namespaceId, ended + 9 * (ended - started));
    },
  };
}
