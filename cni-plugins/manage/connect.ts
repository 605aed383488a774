import { execFileSync } from 'node:child_process';
import { constants, existsSync, statSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { parseJson } from '../../base/json/index.ts';
import { attempt, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { closeFd, openFile, startKernelWorker, tryLockFile } from '../../base/kernel/index.ts';
import { openPluginEngine } from '../engine/index.ts';
import { namespaceStands } from '../namespaces/netns.ts';
import { networksIn } from '../networks/networks.ts';
import type { AttachmentSpec } from '../database/record.ts';
import { createChains, openResultCache } from '../cni/index.ts';
import type { CachedAttachment, Chains } from '../cni/index.ts';
import type { ChainLink, ChainPod } from '../calls/chain.types.ts';
import type { LoadedNetwork } from '../spec/conf-folder.ts';
import { isInterfaceName } from '../spec/interface-name.ts';
import { readMemberships } from '../spec/memberships.ts';
import type { CniResult } from '../spec/result.ts';
import {
  alreadyConnected,
  badInterface,
  capabilityMissing,
  interfaceTaken,
  networkUnknown,
  notConnected,
  targetBound,
  targetUnknown,
} from './connect-failures.ts';
import { idOf, noContainer, podOf, targetOf } from './connect-target.ts';
import type { TargetSource } from './connect-target.ts';
import { namedTarget } from './docker-target.ts';
import { readRecords } from './network-records.ts';
import type { ReportSource } from './report.ts';

/**
 * Implements `portcullis network connect` and `disconnect`: an additional interface for a running target, by
 * the chain of a network of the conf folder. It works on the daemon's database, whether the daemon runs or
 * not. It blocks, so only commands use it.
 */
export interface ConnectSource extends ReportSource, TargetSource {
  /** Folders that contain plugins. */
  readonly binDirs: readonly string[];
  /** Folder in which results are stored as libcni stores them. */
  readonly cacheDir: string;
  readonly log: Logger;
}

export interface Connection {
  readonly network: string;
  readonly containerId: string;
  readonly interface: string;
  readonly netns: string;
}

export interface ConnectOptions {
  /**
   * A pod (NAMESPACE/NAME, NAME or a prefix of its id), the path of a network namespace, pid:NUMBER, or
   * docker://NAME.
   */
  readonly target: string;
  /** Name of the interface in the target. Defaults to the first free `ethN`. */
  readonly interface?: string;
  readonly ips: readonly string[];
  readonly mac?: string;
  readonly aliases: readonly string[];
  /** Services of the network that the target joins (`readMemberships`). Absent: none. */
  readonly services?: readonly object[];
}

const most = 1000;
const pluginTimeoutMs = 120_000;
/** How long a command waits for another command that connects the same target. */
const patienceMs = 10_000;
const pauseMs = 50;
const owner = 'portcullis connect';

/**
 * Connects a target to a network. A failure leaves nothing behind.
 * @throws NETWORK_UNKNOWN · NETWORK_SERVICE_MEMBERSHIP_INVALID · NETWORK_INTERFACE_INVALID ·
 * NETWORK_INTERFACE_TAKEN · NETWORK_TARGET_UNKNOWN · NETWORK_TARGET_BOUND · NETWORK_ALREADY_CONNECTED ·
 * NETWORK_DOCKER_UNREACHABLE · the errors of the plugins
 */
export async function connectNetwork(
  source: ConnectSource,
  name: string,
  options: ConnectOptions,
): Promise<{ connection: Connection; result: CniResult }> {
  const network = loadedNetwork(source, name);
  readMemberships(options.services ?? [], 'services');
  const target = await targetOf(source, options.target);
  if (target.bound !== undefined) throw targetBound(name, options.target, target.bound);
  using opened = new DisposableStack();
  const namespace = opened.adopt(openFile(target.pod.netns, constants.O_RDONLY), closeFd);
  await removeFormer(source, name, { pod: target.pod, asked: options.target, namespace });
  return await connectTo(source, network, target.pod, options);
}

/**
 * Waits for other commands that connect the target, and removes what an earlier connection left.
 * @throws NETWORK_ALREADY_CONNECTED if it is connected, or another command is connecting it
 */
async function removeFormer(
  source: ConnectSource,
  name: string,
  target: { readonly pod: ChainPod; readonly asked: string; readonly namespace: number },
): Promise<void> {
  const cache = openResultCache(source.cacheDir, owner);
  for (const late = performance.now() + patienceMs; ; await setTimeout(pauseMs)) {
    // Held while the target is connected, to whichever network: the next interface is the first free one
    // then. Another program that may read the namespace can hold it, too, so the wait has an end.
    const isAlone = tryLockFile(target.namespace);
    const existing = (await cache.list(name)).find((each) => each.ours && each.containerId === target.pod.id);
    if (existing === undefined && !isAlone && performance.now() < late) continue;
    if (existing === undefined) return;
    // The kernel may reuse the number of a deleted namespace for a new one. An attempt that failed on a full
    // disk could not be removed.
    if (namespaceStands(existing.netns) && (existing.isComplete || !isAlone))
      throw alreadyConnected(name, target.asked, existing.interface, existing.isComplete);
    return removeConnection(source, name, existing);
  }
}

async function connectTo(
  source: ConnectSource,
  network: LoadedNetwork,
  pod: ChainPod,
  options: ConnectOptions,
): Promise<{ connection: Connection; result: CniResult }> {
  const { name } = network;
  const cache = openResultCache(source.cacheDir, owner);
  const capabilityArgs = {
    ...(options.ips.length > 0 && { ips: options.ips }),
    ...(options.mac !== undefined && { mac: options.mac }),
    ...(options.aliases.length > 0 && { aliases: options.aliases }),
    ...(options.services !== undefined && { services: options.services }),
  };
  refuseUndeclared(network, Object.keys(capabilityArgs));
  const recorded = recordedInterfaces(source, pod);
  const ifname = options.interface ?? freeInterface(pod.netns, recorded);
  if (!isInterfaceName(ifname) || ifname === 'lo') throw badInterface(name, ifname);
  if (recorded.has(ifname)) throw interfaceTaken(name, ifname, options.target);
  const link: ChainLink = {
    network: name,
    interface: ifname,
    way: network.way === 'exec' ? 'exec' : 'in-process',
    list: network.list,
    capabilityArgs,
  };
  return withChains(source, async (chains) => {
    const job = { ...pod, links: [link] };
    // The intent is written before anything is created. If this process is killed in between, disconnect or
    // the collection finds what it left.
    await cache.put(link, pod);
    try {
      const [result] = await chains.add(job);
      if (result === undefined) throw new Error('a chain that ended with a result was taken for one without');
      return {
        connection: { network: name, containerId: pod.id, interface: ifname, netns: pod.netns },
        result,
      };
    } catch (thrown) {
      await chains
        .remove(job)
        .catch((left: unknown) =>
          source.log.warn(
            { why: reasonOf(left) },
            'a failed connection could not be removed; disconnect removes it',
          ),
        );
      throw thrown;
    }
  });
}

/**
 * Disconnects a target, which may be gone already.
 * @throws NETWORK_NOT_CONNECTED · the errors of the plugins; then the call can be repeated
 */
export async function disconnectNetwork(
  source: ConnectSource,
  name: string,
  target: string,
): Promise<Connection> {
  const cache = openResultCache(source.cacheDir, owner);
  const known = await namedTarget(target, source.dockerSocket);
  if (known === undefined)
    throw targetUnknown(
      target,
      noContainer,
      'run portcullis network gc to remove the connections of containers that have ended',
    );
  const id = idOf(source, known.target);
  const found = (await cache.list(name)).find(
    (each) => each.ours && (each.containerId === id || each.netns === target),
  );
  if (found === undefined) throw notConnected(name, target);
  await removeConnection(source, name, found);
  return connectionOf(name, found);
}

/**
 * Removes the connections of this source's networks whose namespace is gone.
 * @returns the removed connections
 */
export async function collectConnections(source: ConnectSource): Promise<readonly Connection[]> {
  const gone: Connection[] = [];
  const cache = openResultCache(source.cacheDir, owner);
  const names = new Set([...connectedNetworks(source), ...networksOf(source).map(({ name }) => name)]);
  for (const name of names) {
    for (const found of await cache.list(name)) {
      if (!found.ours || namespaceStands(found.netns)) continue;
      await removeConnection(source, name, found);
      gone.push(connectionOf(name, found));
    }
  }
  return gone;
}

const connectionOf = (
  network: string,
  { containerId, interface: name, netns }: CachedAttachment,
): Connection => ({
  network,
  containerId,
  interface: name,
  netns,
});

async function removeConnection(source: ConnectSource, name: string, found: CachedAttachment): Promise<void> {
  const current = networksOf(source).find((network) => network.name === name);
  const link =
    found.link ??
    (current === undefined
      ? undefined
      : {
          network: name,
          interface: found.interface,
          way: 'exec' as const,
          list: current.list,
          capabilityArgs: {},
        });
  if (link === undefined) throw notConnected(name, found.containerId);
  // A stored result does not say whether its plugins ran as programs. Our plugins do not need to.
  const way = isAllOurs(source, name, link) ? 'in-process' : 'exec';
  await withChains(source, (chains) =>
    chains.remove({
      ...podOf(found.containerId, namespaceStands(found.netns) ? found.netns : ''),
      links: [{ ...link, way }],
    }),
  );
}

const isAllOurs = (source: ConnectSource, name: string, { list }: ChainLink): boolean => {
  const current = networksOf(source).find((network) => network.name === name);
  if (current !== undefined) return current.way !== 'exec';
  return list.plugins.every(
    ({ type, ipamType }) =>
      type.startsWith('portcullis-') && (ipamType ?? 'portcullis-').startsWith('portcullis-'),
  );
};

function networksOf({ confDir, choice }: ConnectSource): readonly LoadedNetwork[] {
  return existsSync(confDir) ? networksIn(confDir, { ...choice, maxConfigs: most }).networks : [];
}

function loadedNetwork(source: ConnectSource, name: string): LoadedNetwork {
  const found = networksOf(source).find((network) => network.name === name);
  if (found !== undefined) return found;
  throw networkUnknown(name, source.confDir);
}

/** Refuses capabilities that no plugin of the network declares, because no plugin would act on them. */
function refuseUndeclared({ name, list }: LoadedNetwork, wanted: readonly string[]): void {
  const declared = new Set(list.plugins.flatMap(({ capabilities }) => capabilities));
  const missing = wanted.filter((each) => !declared.has(each));
  if (missing.length === 0) return;
  throw capabilityMissing(name, missing);
}

function connectedNetworks({ databasePath }: ConnectSource): string[] {
  const query = "SELECT DISTINCT network FROM attachment WHERE origin = 'plugin'";
  return readRecords(databasePath, [], (records) =>
    [...records.each(query)].map((row) => String(row['network'])),
  );
}

/**
 * Returns the names of the interfaces of all attachments of the pod or namespace. A lost attachment counts
 * too, because it is restored by its name.
 */
function recordedInterfaces({ databasePath }: ConnectSource, pod: ChainPod): ReadonlySet<string> {
  const query = "SELECT container_id, interface, origin, spec FROM attachment WHERE state <> 'detaching'";
  const names = readRecords(databasePath, [], (records) =>
    [...records.each(query)].flatMap((row): string[] => {
      const name = String(row['interface']);
      const isOwn = String(row['container_id']) === pod.id;
      if (row['origin'] !== 'pod') return isOwn ? [name] : [];
      // A damaged record names neither a namespace nor other interfaces.
      const spec = (attempt(() => parseJson(String(row['spec']))) ?? {}) as Partial<AttachmentSpec>;
      if (!isOwn && (spec.netns === undefined || !isSameNamespace(spec.netns, pod.netns))) return [];
      return [name, ...(spec.chains ?? []).map((link) => link.interface)];
    }),
  );
  return new Set(names);
}

function isSameNamespace(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => statSync(path, { throwIfNoEntry: false }));
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

/** A program lists the links inside the namespace, because this thread enters no namespace. */
function freeInterface(netns: string, recorded: ReadonlySet<string>): string {
  const text = execFileSync('nsenter', [`--net=${netns}`, '--', 'cat', '/proc/self/net/dev'], {
    encoding: 'utf8',
  });
  const taken = new Set([...recorded, ...[...text.matchAll(/^\s*([^\s:]+):/gmu)].map(([, name]) => name)]);
  for (let at = 0; ; at += 1) if (!taken.has(`eth${at}`)) return `eth${at}`;
}

async function withChains<T>(source: ConnectSource, body: (chains: Chains) => Promise<T>): Promise<T> {
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  const engine = openPluginEngine({ databasePath: source.databasePath, log: source.log });
  try {
    const chains = createChains({
      callPlugin: engine.callPlugin,
      programs: {
        startProgram: programStarter(reactor, kernel),
        binDirs: source.binDirs,
        timeoutMs: pluginTimeoutMs,
      },
      binDirs: source.binDirs,
      cacheDir: source.cacheDir,
      owner,
      log: source.log,
    });
    return await body(chains);
  } finally {
    await engine.close();
    await Promise.all([reactor.close(), kernel.close()]);
  }
}
