import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { CniResult } from '../spec/result.ts';
import type { ResourceKernel } from '../plugins/contract.ts';
import { kindOf } from '../plugins/registry.ts';
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
import { createPluginAdder } from './plugin-adder.ts';
import { createPluginRemoval } from './plugin-removal.ts';
import { notAvailable, previousResultMissing } from './plugin-errors.ts';
import { readConfiguration as read, sound, withoutUnknown } from './plugin-reading.ts';

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

/** Up to this many plugin attachments are compared every time. */
const fewParts = 32;

export function createPluginCore({ database, hosts, realms, log }: PluginCoreParts): PluginCore {
  const parts = createPartStore(database);
  const restsUntil = new Map<string, number>();
  const addressing: Addressing = createAddressing(database);
  const removal = createPluginRemoval({ database, parts, log });
  const { act, removeAnyhow, release } = removal;
  const { add, finish, isAwaited } = createPluginAdder({ database, parts, addressing, removal, repair: (host) => void repair(host), log });

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
    if (kernel.pod === undefined || isAwaited(part.attachment)) return;
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
