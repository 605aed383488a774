import type { Logger } from '../../base/log/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { CniResult } from '../spec/result.ts';
import type { Plugin, ResourceKernel } from '../plugins/contract.ts';
import { completion, kindOf } from '../plugins/registry.ts';
import { otherOwners } from '../spec/service-rules.ts';
import type { Steps } from './address-program-steps.ts';
import type { Addressing } from './addressing.ts';
import { namesOfCall } from './call-names.ts';
import type { Host } from './caller.ts';
import type { NetworkDatabase } from './database.ts';
import { isListenedAt } from './host-sockets.ts';
import { createMembershipStore, memberNames, membershipsOfCall, ownerOfCall } from './memberships.ts';
import { createNameStore } from './endpoint-names.ts';
import type { Part, PartStore } from './parts.ts';
import { addressResult, chosenMac, linkOf, memberHolder, planInput } from './plugin-call-values.ts';
import type { PluginCall } from './plugin-call.ts';
import { alreadyAttached, notAttached, previousResultMissing } from './plugin-errors.ts';
import { readConfiguration as read, sound, withoutUnknown } from './plugin-reading.ts';
import type { Reading } from './plugin-reading.ts';
import type { PluginRemoval } from './plugin-removal.ts';
import { createTakenMacs } from './taken-macs.ts';

/**
 * Executes ADD of a plugin: first the intent in the database, then the kernel, then the record. What cannot be
 * created completely is removed.
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
  readonly parts: PartStore;
  readonly addressing: Addressing;
  readonly removal: PluginRemoval;
  /** Checks existing attachments after a namespace was found to be gone. */
  readonly repair: (host: Host) => void;
  readonly log: Pick<Logger, 'warn'>;
}

/** The result of an act that created something. */
interface Stood {
  readonly result: CniResult;
  /** Waits for the kernel. */
  readonly pending?: Part;
}

/** Pause before the kernel is checked again if it has not finished. */
const lookAgainMs = 50;

export function createPluginAdder({ database, parts, addressing, removal, repair, log }: PluginAdderDeps): PluginAdder {
  const { act, remove, removeAnyhow, undo } = removal;
  const names = createNameStore(database);
  const memberships = createMembershipStore(database);
  const takenMacs = createTakenMacs(database);
  /** Attachments whose ADD waits for the kernel. */
  const awaited = new Set<number>();

  const letGo = function* (type: string, { key }: PluginCall): Steps<void> {
    try {
      yield { type, command: 'DEL' };
    } catch (thrown) {
      // What this call created must be removed nevertheless.
      log.warn({ ...key, type, why: reasonOf(thrown) }, 'an address plugin did not free what it gave');
    }
  };

  const add = function* (call: PluginCall, host: Host): Steps<CniResult> {
    const reading = withoutUnknown(read(call));
    const { type, plugin, source } = reading;
    if (plugin?.role === 'chained' && call.prevResult === undefined) throw previousResultMissing(type);
    const refuseTwice = (): void => {
      if (parts.part(host.realm, call.key, type) !== undefined) throw alreadyAttached(call.key, type);
    };
    // Checked before the program is called: its lease of an existing attachment must not be undone with this
    // call's.
    if (source.from === 'program') act(host, refuseTwice);
    const delegated = source.from === 'program' ? yield { type: source.type, command: 'ADD' } : undefined;
    try {
      const stood = act(host, (): Stood => {
        refuseTwice();
        if (plugin === undefined) return { result: leaseOnly(reading, call, host) };
        const gone: true[] = [];
        const foundGone = (): void => void gone.push(true);
        const made = host.withPod(call.netns, { ownAllowed: call.netnsOverride === true, foundGone }, (kernel) =>
          make(plugin, reading, call, host, kernel, delegated),
        );
        if (gone.length > 0) repair(host);
        return made;
      });
      return yield* completed(stood, call, host);
    } catch (thrown) {
      if (source.from === 'program') yield* letGo(source.type, call);
      throw thrown;
    }
  };

  type Leased = { readonly attachment: number; readonly given: ReturnType<Addressing['lease']> };
  const lease = (reading: Reading, call: PluginCall, host: Host, hostInterface = linkOf(call)): Leased => {
    const attachment = parts.attachment(host.realm, call.key, hostInterface);
    const given = addressing.lease(reading.source, { host, key: call.key, holder: { attachment, part: reading.type } });
    return { attachment, given };
  };

  /** Runs the IPAM plugin alone, called by a third-party plugin. */
  const leaseOnly = (reading: Reading, call: PluginCall, host: Host): CniResult =>
    database.transaction(() => {
      const { attachment, given } = lease(reading, call, host);
      const result = addressResult(given);
      parts.setState(parts.begin({ attachment, key: call.key, type: reading.type, netns: call.netns, resources: [], result }), 'ready');
      return result;
    });

  const make = (
    plugin: Plugin,
    reading: Reading,
    call: PluginCall,
    host: Host,
    kernel: ResourceKernel,
    delegated: CniResult | undefined,
  ): Stood => {
    const hostInterface = linkOf(call);
    const planned = database.transaction(() => {
      const { attachment, given: leased } = lease(reading, call, host, hostInterface);
      const given = delegated === undefined ? leased : addressing.delegated(delegated);
      const input = planInput(call, host, given, hostInterface);
      // `observe` only reads the kernel, and only what no other act can change meanwhile, because the lock is
      // held.
      const observed = plugin.observe?.(reading.config, kernel, input);
      const { resources, result } = plugin.plan(reading.config, observed === undefined ? input : { ...input, observed });
      const mac = chosenMac(reading.config, result, call.prevResult);
      if (mac !== undefined)
        takenMacs.refuse(mac, {
          isPod: ownerOfCall(call) !== otherOwners.cni,
          realm: host.realm,
          key: call.key,
          route: host.route,
          result,
        });
      addressing.takeHostPorts(host, resources, { attachment, part: reading.type });
      return parts.begin({ attachment, key: call.key, type: reading.type, netns: call.netns, resources, result });
    });
    return stand(planned, kernel, call, host);
  };

  /** Creates what is planned, completely or not at all. */
  const stand = (planned: Part, kernel: ResourceKernel, call: PluginCall, host: Host): Stood => {
    const { result } = planned;
    try {
      const joins = membershipsOfCall(call);
      for (const resource of planned.resources) kindOf(resource).ensure(resource, kernel, call.key);
      if (completion(planned.resources, kernel, 0) === 'pending') {
        // During the wait others have the lock, and would remove a half-created attachment. So it is marked
        // as ready; if this process is killed, the next check completes it.
        parts.setState(planned, 'ready');
        return { result, pending: planned };
      }
      conclude(planned, joins, call, host);
      return { result };
    } catch (thrown) {
      undo(planned, () => remove(planned, kernel, host, true));
      throw thrown;
    }
  };

  const conclude = (planned: Part, joins: ReturnType<typeof membershipsOfCall>, call: PluginCall, host: Host): void =>
    database.transaction(() => {
      parts.setState(planned, 'ready');
      const joined = { ...joins, addresses: planned.result.ips.map(({ address }) => address.replace(/\/\d+$/u, '')) };
      const given = [...namesOfCall(call, planned.result), ...memberNames(joined)];
      const holder = memberHolder(host, planned, ownerOfCall(call));
      if (given.length > 0) names.put(holder, given);
      if (joined.memberships.length > 0) memberships.put(holder, joined, (end) => host.inside(() => isListenedAt(end)));
    });

  /** Waits until the kernel has finished. Other calls run meanwhile. */
  const completed = function* ({ result, pending }: Stood, call: PluginCall, host: Host): Steps<CniResult> {
    if (pending === undefined) return result;
    const started = performance.now();
    const standsStill = (): boolean => parts.part(host.realm, pending.key, pending.type)?.attachment === pending.attachment;
    const isDone = (): boolean =>
      act(host, () => {
        if (!standsStill()) throw notAttached(pending.key, pending.type);
        return host.withPod(call.netns, { ownAllowed: call.netnsOverride === true }, (kernel) => {
          if (completion(pending.resources, kernel, performance.now() - started) === 'pending') return false;
          conclude(pending, membershipsOfCall(call), call, host);
          return true;
        });
      });
    awaited.add(pending.attachment);
    try {
      do yield { pauseMs: lookAgainMs };
      while (!isDone());
      return result;
    } catch (thrown) {
      undo(pending, () => act(host, () => (standsStill() ? removeAnyhow(pending, host) : undefined)));
      throw thrown;
    } finally {
      awaited.delete(pending.attachment);
    }
  };

  const finish = function* (call: PluginCall, host: Host): Steps<CniResult> {
    const { type, plugin, config } = sound(read(call));
    const stood = act(host, () => {
      const part = parts.part(host.realm, call.key, type);
      if (plugin === undefined || part === undefined) throw notAttached(call.key, type);
      return host.withPod(call.netns, { ownAllowed: call.netnsOverride === true }, (kernel) => {
        const { routes, dns } = part.result;
        const input = { ...planInput(call, host, { addresses: [], routes, dns }), joined: call.joined };
        const observed = plugin.observe?.(config, kernel, input);
        const { resources, result } = plugin.plan(config, { ...input, observed });
        const planned = database.transaction(() => {
          parts.setState(part, 'making');
          return parts.describe(part, resources, result);
        });
        return stand(planned, kernel, call, host);
      });
    });
    return yield* completed(stood, call, host);
  };

  return { add, finish, isAwaited: (attachment) => awaited.has(attachment) };
}
