import { ipBytes, parsePrefix } from '../../base/addresses/index.ts';
import { forgetAddresses } from '../../base/netlink/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Attached, ResourceKernel } from '../plugins/contract/contract.ts';
import { kindOf } from '../plugins/registry.ts';
import type { Host, PodOptions } from '../namespaces/caller.ts';
import type { NetworkDatabase } from '../database/database.ts';
import { createFollowedPolicies } from '../database/followed-policies.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import type { DhcpLeases } from './dhcp-leases.ts';
import { createSharedAddresses } from './shared-addresses.ts';
import type { PodPolicies } from './pod-policies.ts';

/** Removes plugin attachments, and what crashed processes left half-created. */
export interface PluginRemoval {
  /** @param isUndone the attachment was never reported as created */
  remove(pluginAttachment: PluginAttachment, kernel: ResourceKernel, host: Host, isUndone?: boolean): void;
  /**
   * Removes an attachment also if its pod's namespace is gone.
   * @param isUndone as for `remove`
   */
  removeAnyhow(pluginAttachment: PluginAttachment, host: Host, netns?: string, isUndone?: boolean): void;
  /**
   * Removes the connections that commands made for a container that is gone. The caller holds the database's
   * lock.
   */
  release(host: Host, containerId: string): void;
  /** Runs an act under the database's lock, after leftovers of crashed processes are removed. */
  act<T>(host: Host, body: () => T): T;
  /** Runs the removal of a failed attachment. A failure is logged, and the next act tries again. */
  undo(pluginAttachment: PluginAttachment, removal: () => void): void;
}

export interface PluginRemovalDeps {
  readonly database: NetworkDatabase;
  readonly parts: PluginAttachmentStore;
  readonly policies: Pick<PodPolicies, 'close'>;
  readonly leases: Pick<DhcpLeases, 'release'>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/**
 * Returns how to enter the pod of an existing attachment. If another namespace has the path by now, the pod
 * is gone: nothing in the other one may be changed.
 */
export const entranceOf = ({ netnsId }: PluginAttachment): PodOptions => ({
  lenient: true,
  ...(netnsId !== undefined && { expected: netnsId, ownAllowed: true }),
});

export function createPluginRemoval({
  database,
  parts: pluginAttachments,
  policies,
  leases,
  log,
}: PluginRemovalDeps): PluginRemoval {
  const sharedAddresses = createSharedAddresses(database);
  const followed = createFollowedPolicies(database);

  const remove = (
    pluginAttachment: PluginAttachment,
    kernel: ResourceKernel,
    { namespaceId }: Host,
    isUndone = false,
  ): void => {
    // First, because the lease needs the interface, and may be unknown to a database on a full disk.
    leases.release(pluginAttachment, kernel);
    pluginAttachments.setState(pluginAttachment, 'removing');
    policies.close(pluginAttachment);
    const attached: Attached = {
      has: (hostInterface, type) => pluginAttachments.has(namespaceId, hostInterface, type),
      isUndone,
    };
    for (const resource of pluginAttachment.resources.toReversed())
      kindOf(resource).remove(resource, kernel, pluginAttachment.key, attached);
    sharedAddresses.restore(pluginAttachment, pluginAttachment.resources, kernel);
    // The answers to its connections would reach the next container with the address, against its rules.
    // Without rules, the caller need not wait for this.
    if (
      followed.areFollowed() &&
      pluginAttachments.chain(namespaceId, pluginAttachment.key)[0]?.type === pluginAttachment.type
    )
      forgetAddresses(
        kernel.host.filter,
        pluginAttachment.result.ips.flatMap(({ address }) => {
          const prefix = parsePrefix(address);
          return prefix === undefined ? [] : [ipBytes(prefix.address)];
        }),
      );
    pluginAttachments.remove(pluginAttachment);
  };

  const removeAnyhow = (
    pluginAttachment: PluginAttachment,
    host: Host,
    netns = pluginAttachment.netns,
    isUndone = false,
  ): void => {
    const { netnsId, netns: own } = pluginAttachment;
    const options = entranceOf(pluginAttachment);
    host.withPod(netns === '' ? own : netns, options, (kernel) => {
      if (kernel.pod !== undefined || netns === '' || netns === own || netnsId === undefined)
        return remove(pluginAttachment, kernel, host, isUndone);
      // The caller's path leads elsewhere, and the pod may still be where it was.
      host.withPod(own, options, (recorded) => remove(pluginAttachment, recorded, host, isUndone));
    });
  };

  const release = (host: Host, containerId: string): void => {
    for (const pluginAttachment of pluginAttachments.of(host.namespaceId, containerId).toReversed()) {
      try {
        removeAnyhow(pluginAttachment, host);
      } catch (thrown) {
        log.warn(
          { ...pluginAttachment.key, type: pluginAttachment.type, why: reasonOf(thrown) },
          'a connection of a pod that is gone could not be removed; it is tried again',
        );
      }
    }
  };

  /**
   * Removes what crashed processes left half-created. What cannot be removed now is tried again by the next
   * act.
   */
  const recover = (host: Host): void => {
    for (const pluginAttachment of pluginAttachments.unfinished(host.namespaceId)) {
      try {
        removeAnyhow(pluginAttachment, host);
        log.info(
          { ...pluginAttachment.key, type: pluginAttachment.type },
          'leftovers of a killed process were removed',
        );
      } catch (thrown) {
        log.warn(
          { ...pluginAttachment.key, type: pluginAttachment.type, why: reasonOf(thrown) },
          'leftovers of a killed process could not be removed',
        );
      }
    }
  };

  const act = <T>(host: Host, body: () => T): T =>
    database.exclusively(() => {
      recover(host);
      return body();
    });

  const undo = (pluginAttachment: PluginAttachment, removal: () => void): void => {
    try {
      removal();
    } catch (thrown) {
      log.warn(
        { ...pluginAttachment.key, type: pluginAttachment.type, why: reasonOf(thrown) },
        'a failed attachment could not be removed at once; it is tried again',
      );
    }
  };

  return { remove, removeAnyhow, release, act, undo };
}
