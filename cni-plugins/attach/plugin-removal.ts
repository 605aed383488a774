import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Attached, ResourceKernel } from '../plugins/contract.ts';
import { kindOf } from '../plugins/registry.ts';
import type { Host } from './caller.ts';
import type { NetworkDatabase } from './database.ts';
import type { Part, PartStore } from './parts.ts';

/** Removes plugin attachments, and what crashed processes left half-created. */
export interface PluginRemoval {
  /** @param isUndone the attachment was never reported as created */
  remove(part: Part, kernel: ResourceKernel, host: Host, isUndone?: boolean): void;
  /** Removes an attachment also if its pod's namespace is gone. */
  removeAnyhow(part: Part, host: Host, netns?: string): void;
  /**
   * Removes the connections that commands made for a container that is gone. The caller holds the database's
   * lock.
   */
  release(host: Host, containerId: string): void;
  /** Runs an act under the database's lock, after leftovers of crashed processes are removed. */
  act<T>(host: Host, body: () => T): T;
  /** Runs the removal of a failed attachment. A failure is logged, and the next act tries again. */
  undo(part: Part, removal: () => void): void;
}

export interface PluginRemovalDeps {
  readonly database: NetworkDatabase;
  readonly parts: PartStore;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export function createPluginRemoval({ database, parts, log }: PluginRemovalDeps): PluginRemoval {
  const remove = (part: Part, kernel: ResourceKernel, { realm }: Host, isUndone = false): void => {
    parts.setState(part, 'removing');
    const attached: Attached = { has: (hostInterface, type) => parts.has(realm, hostInterface, type), isUndone };
    for (const resource of part.resources.toReversed()) kindOf(resource).remove(resource, kernel, part.key, attached);
    parts.remove(part);
  };

  const removeAnyhow = (part: Part, host: Host, netns = part.netns): void =>
    host.withPod(netns === '' ? part.netns : netns, { lenient: true }, (kernel) => remove(part, kernel, host));

  const release = (host: Host, containerId: string): void => {
    for (const part of parts.of(host.realm, containerId).toReversed()) {
      try {
        removeAnyhow(part, host);
      } catch (thrown) {
        log.warn(
          { ...part.key, type: part.type, why: reasonOf(thrown) },
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
    for (const part of parts.unfinished(host.realm)) {
      try {
        removeAnyhow(part, host);
        log.info({ ...part.key, type: part.type }, 'leftovers of a killed process were removed');
      } catch (thrown) {
        log.warn({ ...part.key, type: part.type, why: reasonOf(thrown) }, 'leftovers of a killed process could not be removed');
      }
    }
  };

  const act = <T>(host: Host, body: () => T): T =>
    database.exclusively(() => {
      recover(host);
      return body();
    });

  const undo = (part: Part, removal: () => void): void => {
    try {
      removal();
    } catch (thrown) {
      log.warn(
        { ...part.key, type: part.type, why: reasonOf(thrown) },
        'a failed attachment could not be removed at once; it is tried again',
      );
    }
  };

  return { remove, removeAnyhow, release, act, undo };
}
