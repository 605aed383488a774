import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { CniResult } from '../spec/result.ts';
import { createDhcpLeases } from './dhcp-leases.ts';
import { createAddressing, storeOf } from './addressing.ts';
import type { Addressing } from './addressing.ts';
import { createTurns, runSteps } from './address-program-steps.ts';
import type { Steps } from './address-program-steps.ts';
import type { Host, Hosts } from '../namespaces/caller.ts';
import type { Check } from './comparison.ts';
import { compareChecks } from './comparison.ts';
import { createDaemonAttachments } from '../database/daemon-attachments.ts';
import type { DaemonAttachments } from '../database/daemon-attachments.ts';
import type { NetworkDatabase } from '../database/database.ts';
import type { EndedNamespaces } from '../database/ended-namespaces.ts';
import { createPluginAttachmentStore } from '../database/plugin-attachments.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import type { Plugin } from '../plugins/contract/contract.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { createPluginAdder } from './plugin-adder.ts';
import { createPluginRemoval } from './plugin-removal.ts';
import type { PluginRemoval } from './plugin-removal.ts';
import type { PodPolicies } from './pod-policies.ts';
import { createPluginRepair } from './plugin-repair.ts';
import { addResultMissing, notAvailable } from '../calls/plugin-errors.ts';
import { readConfiguration as read, sound, withoutUnknown } from './plugin-reading.ts';

/**
 * Executes calls of our CNI plugins: first the intent in the database, then the kernel, then the record.
 * Synchronous, for a Worker, except while it waits for a third-party IPAM plugin. The daemon uses it, and so
 * does a plugin that runs without the daemon. The database's lock orders acts over all processes. So anything
 * half-created was left by a process that died, and the next act in the host network namespace removes it.
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
   * Recreates what other programs removed from existing attachments in this host network namespace, and
   * removes what crashed processes left half-created.
   */
  repair(host: Host): void;
  /**
   * Removes the connections that commands made for a container that is gone. The caller holds the database's
   * lock.
   */
  release(host: Host, containerId: string): void;
  /** Runs `repair` at the start of the daemon, and continues with the recorded leases of DHCP servers. */
  start(host: Host): void;
  /** Ends the ADDs that wait for a DHCP server, and renews no lease any more. */
  close(): void;
}

export interface PluginCoreDeps {
  readonly namespaceIds: Pick<EndedNamespaces, 'watch'>;
  readonly database: NetworkDatabase;
  readonly hosts: Hosts;
  readonly policies: PodPolicies;
  /** Whether this process renews the leases of DHCP servers: the daemon. */
  readonly keepsLeases: boolean;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Changes nothing before the first call. */
export function createPluginCore({
  database,
  hosts,
  namespaceIds,
  policies,
  keepsLeases,
  log,
}: PluginCoreDeps): PluginCore {
  const pluginAttachments = createPluginAttachmentStore(database);
  const daemonAttachments = createDaemonAttachments(database);
  const addressing: Addressing = createAddressing(database);
  const shared = { parts: pluginAttachments, policies, log };
  const dhcp = createDhcpLeases({ database, parts: pluginAttachments, hosts, keeps: keepsLeases, log });
  const removal = createPluginRemoval({ database, ...shared, leases: dhcp });
  const { act, removeAnyhow, release } = removal;
  const { add, finish, isAwaited } = createPluginAdder({
    database,
    ...shared,
    addressing,
    removal,
    dhcp,
    repair: (host) => repair(host),
  });
  const { repair, repairInTime } = createPluginRepair({ ...shared, act, isAwaited });

  const del = function* (call: PluginCall, host: Host): Steps<void> {
    // Problems of the configuration do not matter: an ADD that they refused is followed by this DEL, and a
    // runtime that it fails for does not call the plugins before this one.
    const { type, plugin, source } = read(call);
    try {
      if (source.from === 'program') yield { type: source.type, command: 'DEL' };
    } finally {
      // Objects that we created are removed in any case. The error is reported to the caller, which calls
      // again (CNI specification 1.1, section 4).
      act(host, () => {
        const chain = pluginAttachments.chain(host.namespaceId, call.key);
        for (const part of removedWith(type, plugin, chain)) removeAnyhow(part, host, call.netns);
        // Last, because its folder may be unreadable.
        if (source.from === 'ranges') addressing.freeForeign(source, call.key, host);
      });
    }
  };

  const compare = (checks: readonly Check[], host: Host): void =>
    compareChecks(checks, host, { chain: pluginAttachments.chain, lost: dhcp.lost }, (body) =>
      act(host, body),
    );

  const check = function* (call: PluginCall, host: Host): Steps<void> {
    const reading = sound(read(call));
    if (call.prevResult === undefined) throw addResultMissing(call.key, reading.type);
    if (reading.source.from === 'program') yield { type: reading.source.type, command: 'CHECK' };
    compare([{ call, reading }], host);
  };

  const gc = (call: PluginCall, host: Host): Steps<void> =>
    collect(call, host, { parts: pluginAttachments, daemonAttachments, addressing, removal });

  const status = function* (call: PluginCall, host: Host): Steps<void> {
    const { type, plugin, config, source } = withoutUnknown(read(call));
    if (source.from === 'program') yield { type: source.type, command: 'STATUS' };
    yield* repairInTime(host);
    const unservable = source.from === 'dhcp' ? dhcp.unavailable() : undefined;
    if (unservable !== undefined) throw notAvailable(type, unservable);
    const next = addressing.next(source, { host, network: call.key.network });
    const addresses = 'addresses' in next ? next.addresses : [];
    const unfit = plugin?.unavailable?.(config, host.route, addresses);
    if (unfit !== undefined) throw notAvailable(type, unfit);
    if ('exhausted' in next) throw notAvailable(type, next.exhausted);
  };

  const verbs = { add, finish, del, check, gc, status };
  const inTurn = createTurns();
  const afterQuestions = askingFirst(hosts, pluginAttachments);
  const call: PluginCore['call'] = (asked) => {
    if (asked.verb === 'del') dhcp.cancel(asked);
    return inTurn(asked, () =>
      afterQuestions([asked], () =>
        hosts.with(asked.caller, (host) => {
          if (asked.verb === 'add' && asked.caller.netnsFd !== undefined)
            namespaceIds.watch(host.namespaceId, asked.caller.netnsFd);
          return runSteps<CniResult | undefined | void>(verbs[asked.verb](asked, host), asked, host);
        }),
      ),
    ) as CniResult | undefined | Promise<CniResult | undefined>;
  };

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
      return inTurn<void>(first, () =>
        afterQuestions(calls, () => hosts.with(first.caller, (host) => compare(checks, host))),
      );
    },
    repair,
    release,
    start(host) {
      dhcp.resume((part) => act(host, () => removeAnyhow(part, host, part.netns, true)));
      repair(host);
    },
    close: dhcp.close,
  };
}

/**
 * Returns what DEL of a plugin removes, the last first. Without its interface or address, nothing of the
 * plugins after it is of use: a plugin that was taken out of the configuration gets no DEL of its own, and
 * its host ports would lead to the next pod with the address.
 * @param chain all plugin attachments of the attachment, in the order of creation
 */
function removedWith(
  type: string,
  plugin: Plugin | undefined,
  chain: readonly PluginAttachment[],
): readonly PluginAttachment[] {
  const at = chain.findIndex((part) => part.type === type);
  if (plugin?.role === 'chained') return chain.filter((part) => part.type === type);
  // The configuration had another plugin that created the interface.
  if (at === -1) return plugin === undefined ? [] : chain.toReversed();
  return chain.slice(at).toReversed();
}

/** Runs an act after its paths that may not answer were asked for. */
type AfterQuestions = <T>(calls: readonly PluginCall[], act: () => T | Promise<T>) => T | Promise<T>;

/** The questions come first, because the act holds this thread and the lock of the database. */
function askingFirst(hosts: Hosts, parts: PluginAttachmentStore): AfterQuestions {
  /** Returns the namespaces that a call opens because they are recorded. */
  const recordedPaths = ({ verb, netns, caller, key }: PluginCall): readonly string[] =>
    verb === 'gc' || (verb === 'del' && netns === '')
      ? hosts.with(caller, ({ namespaceId }) =>
          parts
            .all(namespaceId)
            .filter((part) => verb === 'gc' || part.key.containerId === key.containerId)
            .filter((part) => part.key.network === key.network)
            .map((part) => part.netns),
        )
      : [];
  return (calls, act) => {
    const [first] = calls;
    const paths = calls.flatMap((call) => [...pathsOf(call), ...recordedPaths(call)]);
    const asking = first && hosts.ask(first.caller, paths);
    return asking === undefined ? act() : asking.then(act);
  };
}

/** Returns the paths of a call that are opened for it, as far as its configuration can be read. */
function pathsOf(call: PluginCall): readonly string[] {
  const { source } = read(call);
  if (source.from === 'program') return [call.netns, ...call.path.map((folder) => join(folder, source.type))];
  if (source.from !== 'ranges' || call.verb === 'check') return [call.netns];
  return [call.netns, storeOf(source, call.key.network), source.resolvConf ?? ''];
}

interface Collecting {
  readonly parts: PluginAttachmentStore;
  readonly daemonAttachments: DaemonAttachments;
  readonly addressing: Addressing;
  readonly removal: Pick<PluginRemoval, 'act' | 'removeAnyhow'>;
}

/** The kernel takes some 20 ms to delete a link, and there may be thousands of leftovers. */
const collectMs = 20;

/**
 * Executes GC: removes the attachments of the network that are not valid any more. Between removals, calls of
 * other networks run.
 */
function* collect(
  call: PluginCall,
  host: Host,
  { parts, daemonAttachments, addressing, removal: { act, removeAnyhow } }: Collecting,
): Steps<void> {
  const { type, source } = sound(read(call));
  const keyOf = (containerId: string, name: string): string => `${containerId}\0${name}`;
  const valid = new Set((call.valid ?? []).map((each) => keyOf(each.containerId, each.interface)));
  // An attachment that another process adds later is no leftover, and a runtime on the same network does not
  // know ours. Plugins that were taken out of the configuration get no GC of their own.
  const leftovers = act(host, () =>
    parts
      .all(host.namespaceId)
      .filter(({ key }) => key.network === call.key.network)
      .filter(({ key }) => !valid.has(keyOf(key.containerId, key.interface)))
      .filter(({ key }) => !daemonAttachments.has(key)),
  );
  const failures: string[] = [];
  const removeSome = (): void => {
    const ends = performance.now() + collectMs;
    while (performance.now() < ends) {
      const leftover = leftovers.pop();
      const current = leftover && parts.part(host.namespaceId, leftover.key, leftover.type);
      if (leftover === undefined) return;
      if (current?.attachment !== leftover.attachment) continue;
      try {
        removeAnyhow(current, host);
      } catch (thrown) {
        failures.push(reasonOf(thrown));
      }
    }
  };
  while (leftovers.length > 0) {
    act(host, removeSome);
    yield { pauseMs: 0 };
  }
  if (source.from === 'ranges')
    act(host, () => addressing.collectForeign(source, call.key.network, valid, host));
  if (failures.length > 0) throw notAvailable(type, failures.join('; '));
  if (source.from === 'program') yield { type: source.type, command: 'GC' };
}
