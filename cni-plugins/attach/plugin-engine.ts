import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { CniResult } from '../spec/result.ts';
import type { Attached, Plugin, ResourceKernel } from '../plugins/contract.ts';
import { completion, kindOf } from '../plugins/registry.ts';
import { createAddressing } from './addressing.ts';
import type { Addressing } from './addressing.ts';
import { createTurns, runSteps } from './address-program-steps.ts';
import type { Steps } from './address-program-steps.ts';
import type { Host, Hosts } from './caller.ts';
import { amendedPart, compareChecks } from './comparison.ts';
import type { NetworkDatabase } from './database.ts';
import type { DeadRealms } from './dead-realms.ts';
import { createPartStore } from './parts.ts';
import type { Part } from './parts.ts';
import type { PluginCall } from './plugin-call.ts';
import { addressResult, chosenMac, linkOf, memberHolder, planInput } from './plugin-call-values.ts';
import { alreadyAttached, notAttached, notAvailable, previousResultMissing } from './plugin-errors.ts';
import { readConfiguration as read, sound, withoutUnknown } from './plugin-reading.ts';
import type { Reading } from './plugin-reading.ts';
import { namesOfCall } from './call-names.ts';
import { isListenedAt } from './host-sockets.ts';
import { createMembershipStore, memberNames, membershipsOfCall, ownerOfCall } from './memberships.ts';
import { createNameStore } from './names.ts';
import { otherOwners } from '../spec/service-rules.ts';
import { createTakenMacs } from './taken-macs.ts';

/**
 * Executes calls of our CNI plugins: first the intent in the database, then the kernel, then the record.
 * Synchronous, for a Worker, except while it waits for a third-party IPAM plugin. The daemon uses it, and so
 * does a plugin that runs without the daemon. The database's lock orders acts over all processes. So anything
 * half-created was left by a process that died, and the next act in the realm removes it.
 */
export interface PluginCore {
  /** ADD returns its result. @throws the errors that {@link CallPlugin} lists */
  call(call: PluginCall): CniResult | undefined | Promise<CniResult | undefined>;
  /**
   * Runs the CHECKs of plugins of one chain for one attachment, in their order. Returns a promise if a
   * third-party IPAM plugin is called.
   * @throws the first error
   */
  check(calls: readonly PluginCall[]): void | Promise<void>;
  /**
   * Recreates what other programs removed from existing attachments in the host's realm, and removes what
   * crashed processes left half-created.
   */
  repair(host: Host): void;
  /**
   * Removes the connections that commands made for a container that is gone. The caller holds the database's
   * lock.
   */
  release(host: Host, containerId: string): void;
}

export interface PluginCoreParts {
  readonly realms: Pick<DeadRealms, 'watch'>;
  readonly database: NetworkDatabase;
  readonly hosts: Hosts;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** The result of an act that created something. */
interface Stood {
  readonly result: CniResult;
  /** Waits for the kernel. */
  readonly pending?: Part;
}

/** Pause before the kernel is checked again if it has not finished. */
const lookAgainMs = 50;
/** Up to this many plugin attachments are compared every time. */
const fewParts = 32;

export function createPluginCore({ database, hosts, realms, log }: PluginCoreParts): PluginCore {
  const parts = createPartStore(database);
  const names = createNameStore(database);
  const memberships = createMembershipStore(database);
  const restsUntil = new Map<string, number>();
  /** Attachments whose ADD waits for the kernel. */
  const awaited = new Set<number>();
  const addressing: Addressing = createAddressing(database);
  const takenMacs = createTakenMacs(database);

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

  /** Runs the second half of an ADD whose first half leased the addresses. */
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

  const del = function* (call: PluginCall, host: Host): Steps<void> {
    const reading = read(call);
    const { type, source } = reading;
    try {
      if (source.from === 'program') yield { type: source.type, command: 'DEL' };
    } finally {
      // What we created is removed in any case. The error is reported to the caller, which calls again (CNI
      // specification 1.1, section 4).
      act(host, () => {
        const part = parts.part(host.realm, call.key, type);
        if (source.from === 'ranges') addressing.freeForeign(source, call.key, host);
        if (part !== undefined) return removeAnyhow(part, host, call.netns);
        // An attachment that was never added counts as deleted; a configuration that could not have been
        // added is reported.
        sound(reading);
      });
    }
  };

  const check = function* (call: PluginCall, host: Host): Steps<void> {
    const reading = sound(read(call));
    if (call.prevResult === undefined) throw previousResultMissing(reading.type);
    if (reading.source.from === 'program') yield { type: reading.source.type, command: 'CHECK' };
    compareChecks([{ call, reading }], host, parts, (body) => act(host, body));
  };

  const gc = function* (call: PluginCall, host: Host): Steps<void> {
    const { type, source } = sound(read(call));
    const keyOf = (containerId: string, name: string): string => `${containerId}\0${name}`;
    const valid = new Set((call.valid ?? []).map((each) => keyOf(each.containerId, each.interface)));
    act(host, () => {
      const failures: string[] = [];
      for (const part of parts.all(host.realm).toReversed()) {
        const { network, containerId, interface: name } = part.key;
        if (network !== call.key.network || part.type !== type || valid.has(keyOf(containerId, name))) continue;
        try {
          removeAnyhow(part, host);
        } catch (thrown) {
          failures.push(reasonOf(thrown));
        }
      }
      if (source.from === 'ranges') addressing.collectForeign(source, call.key.network, valid, host);
      if (failures.length > 0) throw notAvailable(type, failures.join('; '));
    });
    if (source.from === 'program') yield { type: source.type, command: 'GC' };
  };

  const status = function* (call: PluginCall, host: Host): Steps<void> {
    const { type, plugin, config, source } = withoutUnknown(read(call));
    if (source.from === 'program') yield { type: source.type, command: 'STATUS' };
    repairInTime(host);
    const unfit = plugin?.unavailable?.(config, host.route);
    if (unfit !== undefined) throw notAvailable(type, unfit);
    if (source.from === 'ranges') {
      const why = addressing.exhaustion(source, { host, network: call.key.network });
      if (why !== undefined) throw notAvailable(type, why);
    }
  };

  /**
   * Runtimes call STATUS every few seconds for each network. With many attachments, the comparison takes at
   * most a tenth of the time.
   */
  const repairInTime = (host: Host): void => {
    const started = performance.now();
    if (started < (restsUntil.get(host.realm) ?? 0)) return;
    const count = repair(host);
    const ended = performance.now();
    if (count > fewParts) restsUntil.set(host.realm, ended + 9 * (ended - started));
  };

  /** @returns how many plugin attachments were compared */
  const repair = (host: Host): number =>
    act(host, () => {
      const all = parts.all(host.realm);
      for (const part of all) {
        try {
          host.withPod(part.netns, { lenient: true, ownAllowed: true }, (kernel) =>
            repairPart(amendedPart(part, parts.after(part)), kernel),
          );
        } catch (thrown) {
          log.warn(
            { ...part.key, type: part.type, why: reasonOf(thrown) },
            'an attachment differs from its record and could not be repaired',
          );
        }
      }
      return all.length;
    });

  const repairPart = (part: Part, kernel: ResourceKernel): void => {
    if (kernel.pod === undefined || awaited.has(part.attachment)) return;
    for (const resource of part.resources) {
      const kind = kindOf(resource);
      const differences = kind.differences(resource, kernel, part.key);
      if (differences.length === 0) continue;
      log.warn({ ...part.key, type: part.type, differences }, 'an attachment differs from its record; it is repaired');
      kind.ensure(resource, kernel, part.key);
      // The next check finds and completes what is pending.
      kind.complete?.(resource, kernel, 0);
    }
  };

  const verbs = { add, finish, del, check, gc, status };
  const inTurn = createTurns();
  const call: PluginCore['call'] = (asked) =>
    inTurn(asked, () =>
      hosts.with(asked.caller, (host) => {
        if (asked.verb === 'add' && asked.caller.netnsFd !== undefined) realms.watch(host.realm, asked.caller.netnsFd);
        return runSteps<CniResult | undefined | void>(verbs[asked.verb](asked, host), asked, host);
      }),
    ) as CniResult | undefined | Promise<CniResult | undefined>;

  const checkOneByOne = async (calls: readonly PluginCall[]): Promise<void> => {
    for (const each of calls) await call(each);
  };

  return {
    call,
    check(calls) {
      const [first] = calls;
      if (first === undefined) return undefined;
      const checks = calls.map((each) => ({ call: each, reading: sound(read(each)) }));
      if (checks.some(({ reading }) => reading.source.from === 'program')) return checkOneByOne(calls);
      return inTurn<void>(first, () => hosts.with(first.caller, (host) => compareChecks(checks, host, parts, (body) => act(host, body))));
    },
    repair: (host) => void repair(host),
    release,
  };
}
