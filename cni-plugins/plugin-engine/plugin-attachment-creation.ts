import { isDeepStrictEqual } from 'node:util';
import type { CniResult } from '../spec/result.ts';
import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import { completion, kindOf } from '../plugins/registry.ts';
import type { Steps } from './address-program-steps.ts';
import { namesOfCall } from '../database/call-names.ts';
import type { Host } from '../namespaces/caller.ts';
import type { NetworkDatabase } from '../database/database.ts';
import { createNameStore } from '../database/endpoint-names.ts';
import { isListenedAt } from '../database/host-sockets.ts';
import {
  createMembershipStore,
  memberNames,
  membershipsOfCall,
  ownerOfCall,
} from '../database/memberships.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import { memberHolder } from './plugin-call-values.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { notAttached } from '../calls/plugin-errors.ts';
import type { PluginRemoval } from './plugin-removal.ts';
import type { PodPolicies } from './pod-policies.ts';

/**
 * Creates in the kernel what was planned, and records it as ready. What cannot be created completely is
 * removed.
 */
export interface PartCreation {
  /** Creates what is planned, completely or not at all. */
  create(planned: PluginAttachment, kernel: ResourceKernel, call: PluginCall, host: Host): Created;
  /**
   * Creates links whose addresses follow, completely or not at all. Until `waiting` of this attachment ends,
   * nobody repairs them.
   */
  createLinks(planned: PluginAttachment, kernel: ResourceKernel, host: Host): void;
  /** Runs `body` as an ADD of the attachment that waits. */
  waiting<T>(planned: PluginAttachment, body: Steps<T>): Steps<T>;
  /** Returns whether the attachment still exists: a DEL may have removed it during a wait. */
  exists(planned: PluginAttachment, host: Host): boolean;
  /** Waits until the kernel has finished. Other calls run meanwhile. */
  completed(created: Created, call: PluginCall, host: Host): Steps<CniResult>;
  /** Returns whether the ADD that created this attachment still waits for the kernel. */
  isAwaited(attachment: number): boolean;
}

export interface PartCreationDeps {
  readonly database: NetworkDatabase;
  readonly parts: PluginAttachmentStore;
  readonly removal: PluginRemoval;
  readonly policies: PodPolicies;
}

/** The result of an act that created something. */
export interface Created {
  readonly result: CniResult;
  /** Waits for the kernel. */
  readonly pending?: PluginAttachment;
}

/** Pause before the kernel is checked again if it has not finished. */
const lookAgainMs = 50;

/** Returns the operations; those without steps run in an act that holds the lock. */
export function createPartCreation({
  database,
  parts: pluginAttachments,
  removal,
  policies,
}: PartCreationDeps): PartCreation {
  const { act, remove, removeAnyhow, undo } = removal;
  const names = createNameStore(database);
  const memberships = createMembershipStore(database);
  /** Attachments whose ADD waits for the kernel. */
  const awaited = new Set<number>();

  const conclude = (
    planned: PluginAttachment,
    joins: ReturnType<typeof membershipsOfCall>,
    call: PluginCall,
    host: Host,
    kernel: ResourceKernel,
  ): void => {
    database.transaction(() => {
      pluginAttachments.setState(planned, 'ready');
      policies.settle(planned);
      const joined = {
        ...joins,
        addresses: planned.result.ips.map(({ address }) => address.replace(/\/\d+$/u, '')),
      };
      const given = [...namesOfCall(call, planned.result), ...memberNames(joined)];
      const holder = memberHolder(host, planned, ownerOfCall(call));
      if (given.length > 0) names.put(holder, given);
      renewOthers(pluginAttachments, planned, host, kernel);
      if (joined.memberships.length > 0)
        memberships.put(holder, joined, (end) => host.inside(() => isListenedAt(end)));
    });
    policies.open(planned);
  };

  const exists: PartCreation['exists'] = ({ key, type, attachment }, { namespaceId }) =>
    pluginAttachments.part(namespaceId, key, type)?.attachment === attachment;

  return {
    create(planned, kernel, call, host) {
      const { result } = planned;
      try {
        const joins = membershipsOfCall(call);
        policies.expect(planned);
        for (const resource of planned.resources) kindOf(resource).ensure(resource, kernel, call.key);
        if (completion(planned.resources, kernel, 0) === 'pending') {
          // During the wait others have the lock, and would remove a half-created attachment. So it is marked
          // as ready; if this process is killed, the next check completes it.
          pluginAttachments.setState(planned, 'ready');
          return { result, pending: planned };
        }
        conclude(planned, joins, call, host, kernel);
        return { result };
      } catch (thrown) {
        undo(planned, () => remove(planned, kernel, host, true));
        throw thrown;
      }
    },
    createLinks(planned, kernel, host) {
      try {
        for (const resource of planned.resources) kindOf(resource).ensure(resource, kernel, planned.key);
        completion(planned.resources, kernel, 0);
        // As above: others must not remove it as a leftover.
        pluginAttachments.setState(planned, 'ready');
      } catch (thrown) {
        undo(planned, () => remove(planned, kernel, host, true));
        throw thrown;
      }
    },
    *waiting(planned, body) {
      awaited.add(planned.attachment);
      try {
        return yield* body;
      } finally {
        awaited.delete(planned.attachment);
      }
    },
    exists,
    *completed({ result, pending }, call, host) {
      if (pending === undefined) return result;
      const started = performance.now();
      const stillExists = (): boolean => exists(pending, host);
      const isDone = (): boolean =>
        act(host, () => {
          if (!stillExists()) throw notAttached(pending.key, pending.type);
          return host.withPod(call.netns, { ownAllowed: call.netnsOverride === true }, (kernel) => {
            if (completion(pending.resources, kernel, performance.now() - started) === 'pending')
              return false;
            conclude(pending, membershipsOfCall(call), call, host, kernel);
            return true;
          });
        });
      awaited.add(pending.attachment);
      try {
        do yield { pauseMs: lookAgainMs };
        while (!isDone());
        return result;
      } catch (thrown) {
        undo(pending, () => act(host, () => (stillExists() ? removeAnyhow(pending, host) : undefined)));
        throw thrown;
      } finally {
        awaited.delete(pending.attachment);
      }
    },
    isAwaited: (attachment) => awaited.has(attachment),
  };
}

/**
 * Brings the records of other attachments to the settings that a new one gave to objects that they share. A
 * repair would otherwise give these the settings of a former configuration again. What only the former
 * settings had is removed from these objects.
 */
function renewOthers(
  parts: Pick<PluginAttachmentStore, 'all' | 'describe'>,
  { attachment, resources: own }: PluginAttachment,
  { namespaceId }: Pick<Host, 'namespaceId'>,
  kernel: ResourceKernel,
): void {
  const shared = own.filter((resource) => kindOf(resource).renew !== undefined);
  if (shared.length === 0) return;
  const renewed = (resource: Resource): Resource =>
    shared.reduce((other, each) => kindOf(each).renew?.(each, other) ?? other, resource);
  for (const part of parts.all(namespaceId)) {
    if (part.attachment === attachment) continue;
    const resources = part.resources.map(renewed);
    if (isDeepStrictEqual(resources, part.resources)) continue;
    for (const each of shared)
      for (const former of part.resources) kindOf(each).removeFormer?.(each, former, kernel);
    parts.describe(part, resources, part.result);
  }
}
