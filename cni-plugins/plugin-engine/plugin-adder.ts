import type { Logger } from '../../base/log/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { CniResult } from '../spec/result.ts';
import type { Steps } from './address-program-steps.ts';
import type { Addressing } from './addressing.ts';
import { needsInterface } from '../networks/addresses.ts';
import type { Host } from '../namespaces/caller.ts';
import type { NetworkDatabase } from '../database/database.ts';
import { createPartCreation } from './plugin-attachment-creation.ts';
import type { Created } from './plugin-attachment-creation.ts';
import { createPartPlans } from './plugin-attachment-plans.ts';
import type { PluginAttachmentStore } from '../database/plugin-attachments.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { alreadyAttached, notAttached, previousResultMissing } from '../calls/plugin-errors.ts';
import { readConfiguration as read, sound, withoutUnknown } from './plugin-reading.ts';
import type { DhcpLeases } from './dhcp-leases.ts';
import { createLaterAddresses } from './later-addresses.ts';
import type { LaterSource } from './later-source.ts';
import type { PluginRemoval } from './plugin-removal.ts';
import type { PodPolicies } from './pod-policies.ts';

/**
 * Executes ADD of a plugin: first the intent in the database, then the kernel, then the record. What cannot
 * be created completely is removed.
 */
export interface PluginAdder {
  add(call: PluginCall, host: Host): Steps<CniResult>;
  /** Runs the second half of an ADD whose first half leased the addresses. */
  finish(call: PluginCall, host: Host): Steps<CniResult>;
  /** Returns whether the ADD that created this attachment still waits for the kernel. */
  isAwaited(attachment: number): boolean;
}

export interface PluginAdderDeps {
  readonly database: NetworkDatabase;
  readonly parts: PluginAttachmentStore;
  readonly addressing: Addressing;
  readonly removal: PluginRemoval;
  readonly policies: PodPolicies;
  readonly dhcp: Pick<DhcpLeases, 'source'>;
  /** Checks existing attachments after a namespace was found to be gone. */
  readonly repair: (host: Host) => void;
  readonly log: Pick<Logger, 'warn'>;
}

/** Executes ADD in the acts of `removal`, which first remove what a killed process left. */
export function createPluginAdder({
  database,
  parts: pluginAttachments,
  addressing,
  removal,
  policies,
  dhcp,
  repair,
  log,
}: PluginAdderDeps): PluginAdder {
  const { act } = removal;
  const plans = createPartPlans({ database, parts: pluginAttachments, addressing, policies });
  const creation = createPartCreation({ database, parts: pluginAttachments, removal, policies });

  const addresses = createLaterAddresses({ parts: pluginAttachments, plans, creation, removal });

  const askProgram = (type: string, call: PluginCall): LaterSource => ({
    type,
    *acquire() {
      const result = yield { type, command: 'ADD' };
      return result === undefined ? undefined : { given: addressing.delegated(result) };
    },
    letGo: () => letGo(type, call),
  });

  const letGo = function* (type: string, { key }: PluginCall): Steps<void> {
    try {
      yield { type, command: 'DEL' };
    } catch (thrown) {
      // Objects that this call created must be removed nevertheless.
      log.warn(
        { ...key, type, why: reasonOf(thrown) },
        'an address plugin did not release the addresses that it gave',
      );
    }
  };

  const add = function* (call: PluginCall, host: Host): Steps<CniResult> {
    const reading = withoutUnknown(read(call));
    const { type, plugin, source } = reading;
    if (plugin?.role === 'chained' && call.prevResult === undefined) throw previousResultMissing(type);
    const refuseTwice = (): void => {
      if (pluginAttachments.part(host.namespaceId, call.key, type) !== undefined)
        throw alreadyAttached(call.key, type);
    };
    // Checked before the program is called: its lease of an existing attachment must not be undone with this
    // call's.
    if (source.from === 'program') act(host, refuseTwice);
    if (source.from === 'dhcp') {
      const lease = dhcp.source(call, host, source.config);
      return yield* plugin === undefined
        ? addresses.addAlone(reading, call, host, lease)
        : addresses.add({ plugin, reading, call }, host, lease);
    }
    if (plugin !== undefined && source.from === 'program' && needsInterface(source))
      return yield* addresses.add({ plugin, reading, call }, host, askProgram(source.type, call));
    const delegated = source.from === 'program' ? yield { type: source.type, command: 'ADD' } : undefined;
    try {
      const created = act(host, (): Created => {
        refuseTwice();
        if (plugin === undefined) return { result: plans.leaseOnly(reading, call, host) };
        const gone: true[] = [];
        const foundGone = (): void => void gone.push(true);
        const made = host.withPod(
          call.netns,
          { ownAllowed: call.netnsOverride === true, foundGone },
          (kernel) =>
            creation.create(
              plans.plan({ plugin, reading, call }, host, kernel, delegated),
              kernel,
              call,
              host,
            ),
        );
        if (gone.length > 0) repair(host);
        return made;
      });
      return yield* creation.completed(created, call, host);
    } catch (thrown) {
      if (source.from === 'program') yield* letGo(source.type, call);
      throw thrown;
    }
  };

  const finish = function* (call: PluginCall, host: Host): Steps<CniResult> {
    const reading = sound(read(call));
    const { type, plugin } = reading;
    const created = act(host, () => {
      const pluginAttachment = pluginAttachments.part(host.namespaceId, call.key, type);
      if (plugin === undefined || pluginAttachment === undefined) throw notAttached(call.key, type);
      return host.withPod(call.netns, { ownAllowed: call.netnsOverride === true }, (kernel) =>
        creation.create(
          plans.planRest(pluginAttachment, { plugin, reading, call }, host, kernel),
          kernel,
          call,
          host,
        ),
      );
    });
    return yield* creation.completed(created, call, host);
  };

  return { add, finish, isAwaited: creation.isAwaited };
}
