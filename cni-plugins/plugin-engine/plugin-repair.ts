import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ResourceKernel } from '../plugins/contract/contract.ts';
import { kindOf } from '../plugins/registry.ts';
import type { Host } from '../namespaces/caller.ts';
import type { Steps } from './address-program-steps.ts';
import { asInPod } from './changed-ends.ts';
import { amendedPart } from './comparison.ts';
import { damagedKind } from '../database/damaged-parts.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import { entranceOf } from './plugin-removal.ts';
import type { PluginRemoval } from './plugin-removal.ts';
import type { PodPolicies } from './pod-policies.ts';

/** Compares the attachments of plugins with their records, and recreates what other programs removed. */
export interface PluginRepair {
  repair(host: Host): void;
  /**
   * Repairs unless the last comparison took long. Runtimes call STATUS every few seconds for each network.
   * With many attachments, the comparison takes at most a tenth of the time, and other calls run in between.
   */
  repairInTime(host: Host): Steps<void>;
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
/** Comparing an attachment takes some 1 ms, and there may be hundreds. */
const repairMs = 20;

const nameOf = ({ attachment, type }: PluginAttachment): string => `${attachment} ${type}`;

/** Creates the repair; compares nothing yet. */
export function createPluginRepair({
  parts: pluginAttachments,
  act,
  policies,
  isAwaited,
  log,
}: PluginRepairDeps): PluginRepair {
  const restsUntil = new Map<string, number>();
  /** Parts whose last repair has failed, or waits for the kernel; and the namespace of their host. */
  const unfinished = new Map<string, string>();

  /** Returns whether nothing is pending. */
  const repairPart = (pluginAttachment: PluginAttachment, kernel: ResourceKernel): boolean => {
    let isDone = true;
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
      if (kind.complete?.(resource, kernel, 0) === 'pending') isDone = false;
    }
    policies.reopen(pluginAttachment);
    return isDone;
  };

  const repairInPod = (part: PluginAttachment, host: Host): void =>
    host.withPod(part.netns, entranceOf(part), (kernel) => {
      if (kernel.pod === undefined || isAwaited(part.attachment)) return;
      if (part.resources.some(({ kind }) => kind === damagedKind)) return;
      const name = nameOf(part);
      const recorded = amendedPart(part, pluginAttachments.after(part));
      const wanted = asInPod(recorded, kernel, unfinished.has(name));
      unfinished.set(name, host.namespaceId);
      if (repairPart(wanted, kernel)) unfinished.delete(name);
    });

  /** Repairs the last of these attachments, and removes them from the list. */
  const repairSome = (host: Host, waiting: PluginAttachment[], milliseconds = Infinity): void => {
    const ends = performance.now() + milliseconds;
    while (performance.now() < ends) {
      const listed = waiting.pop();
      if (listed === undefined) return;
      const part = pluginAttachments.part(host.namespaceId, listed.key, listed.type);
      // It may have been removed since it was listed.
      if (part?.attachment !== listed.attachment) continue;
      try {
        repairInPod(part, host);
      } catch (thrown) {
        log.warn(
          { ...part.key, type: part.type, why: reasonOf(thrown) },
          'an attachment differs from its record and could not be repaired',
        );
      }
    }
  };
  const list = ({ namespaceId }: Host): PluginAttachment[] => {
    const listed = pluginAttachments.all(namespaceId).toReversed();
    if (unfinished.size === 0) return listed;
    const names = new Set(listed.map(nameOf));
    for (const [name, of] of unfinished) if (of === namespaceId && !names.has(name)) unfinished.delete(name);
    return listed;
  };

  return {
    repair: (host) => act(host, () => repairSome(host, list(host))),
    *repairInTime(host) {
      if (performance.now() < (restsUntil.get(host.namespaceId) ?? 0)) return;
      // The call for another network leaves it to this one.
      restsUntil.set(host.namespaceId, Infinity);
      let spent = 0;
      const timed = <T>(body: () => T): T => {
        const started = performance.now();
        const result = act(host, body);
        spent += performance.now() - started;
        return result;
      };
      let count = 0;
      try {
        const waiting = timed(() => list(host));
        count = waiting.length;
        while (waiting.length > 0) {
          timed(() => repairSome(host, waiting, repairMs));
          if (waiting.length > 0) yield { pauseMs: 0 };
        }
      } finally {
        restsUntil.set(host.namespaceId, count > fewParts ? performance.now() + 9 * spent : 0);
      }
    },
  };
}
