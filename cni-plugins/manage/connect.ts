import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { parseJson } from '../../base/json/index.ts';
import { reasonOf, PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { openReadOnly } from '../../base/storage/index.ts';
import { openPluginEngine } from '../attach/engine.ts';
import { namespaceStands, ownNamespace } from '../attach/netns.ts';
import { networksIn } from '../attach/networks.ts';
import type { AttachmentSpec } from '../attach/record.ts';
import { createChains } from '../invoke/chains.ts';
import type { Chains } from '../invoke/chains.ts';
import type { ChainLink, ChainPod } from '../invoke/chain.types.ts';
import { openResultCache } from '../invoke/result-cache.ts';
import type { CachedAttachment } from '../invoke/result-cache.ts';
import type { LoadedNetwork } from '../spec/conf-folder.ts';
import { readMemberships } from '../spec/memberships.ts';
import type { CniResult } from '../spec/result.ts';
import { connectedId } from './connected-id.ts';
import { namedTarget } from './docker-target.ts';
import type { ReportSource } from './report.ts';

/**
 * Implements `portcullis network connect` and `disconnect`: an additional interface for a running target, by
 * the chain of a network of the conf folder. It works on the daemon's database, whether the daemon runs or
 * not. It blocks, so only commands use it.
 */
export interface ConnectSource extends ReportSource {
  /** Folders that contain plugins. */
  readonly binDirs: readonly string[];
  /** Folder in which results are stored as libcni stores them. */
  readonly cacheDir: string;
  /** Socket of docker's API, for targets that docker manages. Defaults to /run/docker.sock. */
  readonly dockerSocket?: string;
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
const interfaceName = /^(?!\.{1,2}$)(?!lo$)[^\s/:%\0]{1,15}$/u;
const pluginTimeoutMs = 120_000;
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
  const cache = openResultCache(source.cacheDir, owner);
  const standing = (await cache.list(name)).find((each) => each.ours && each.containerId === target.pod.id);
  if (standing !== undefined && namespaceStands(standing.netns)) throw alreadyConnected(name, options.target, standing.interface);
  // The kernel may reuse the number of a deleted namespace for a new one.
  if (standing !== undefined) await removeConnection(source, name, standing);
  const capabilityArgs = {
    ...(options.ips.length > 0 && { ips: options.ips }),
    ...(options.mac !== undefined && { mac: options.mac }),
    ...(options.aliases.length > 0 && { aliases: options.aliases }),
    ...(options.services !== undefined && { services: options.services }),
  };
  refuseUndeclared(network, Object.keys(capabilityArgs));
  const recorded = recordedInterfaces(source, target.pod);
  const ifname = options.interface ?? freeInterface(target.pod.netns, recorded);
  if (!interfaceName.test(ifname)) throw badInterface(name, ifname);
  if (recorded.has(ifname)) throw interfaceTaken(name, ifname, options.target);
  const link: ChainLink = {
    network: name,
    interface: ifname,
    way: network.way === 'exec' ? 'exec' : 'in-process',
    list: network.list,
    capabilityArgs,
  };
  return withChains(source, async (chains) => {
    const job = { ...target.pod, links: [link] };
    // The intent is written before anything is created. If this process is killed in between, disconnect or
    // the collection finds what it left.
    await cache.put(link, target.pod);
    try {
      const [result] = await chains.add(job);
      if (result === undefined) throw new Error('a chain that ended with a result was taken for one without');
      return { connection: { network: name, containerId: target.pod.id, interface: ifname, netns: target.pod.netns }, result };
    } catch (thrown) {
      await chains
        .remove(job)
        .catch((left: unknown) =>
          source.log.warn({ why: reasonOf(left) }, 'a failed connection could not be removed; disconnect removes it'),
        );
      throw thrown;
    }
  });
}

/**
 * Disconnects a target, which may be gone already.
 * @throws NETWORK_NOT_CONNECTED · the errors of the plugins; then the call can be repeated
 */
export async function disconnectNetwork(source: ConnectSource, name: string, target: string): Promise<Connection> {
  const cache = openResultCache(source.cacheDir, owner);
  const known = await namedTarget(target, source.dockerSocket);
  if (known === undefined)
    throw targetUnknown(target, noContainer, 'portcullis network gc removes the connections of containers that have ended');
  const id = idOf(source, known.target);
  const found = (await cache.list(name)).find((each) => each.ours && (each.containerId === id || each.netns === target));
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

const connectionOf = (network: string, { containerId, interface: name, netns }: CachedAttachment): Connection => ({
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
      : { network: name, interface: found.interface, way: 'exec' as const, list: current.list, capabilityArgs: {} });
  if (link === undefined) throw notConnected(name, found.containerId);
  // A stored result does not say whether its plugins ran as programs. Our plugins do not need to.
  const way = isAllOurs(source, name, link) ? 'in-process' : 'exec';
  await withChains(source, (chains) =>
    chains.remove({ ...podOf(found.containerId, namespaceStands(found.netns) ? found.netns : ''), links: [{ ...link, way }] }),
  );
}

const isAllOurs = (source: ConnectSource, name: string, { list }: ChainLink): boolean => {
  const current = networksOf(source).find((network) => network.name === name);
  if (current !== undefined) return current.way !== 'exec';
  return list.plugins.every(
    ({ type, ipamType }) => type.startsWith('portcullis-') && (ipamType ?? 'portcullis-').startsWith('portcullis-'),
  );
};

function networksOf({ confDir, choice }: ConnectSource): readonly LoadedNetwork[] {
  return existsSync(confDir) ? networksIn(confDir, { ...choice, maxConfigs: most }).networks : [];
}

function loadedNetwork(source: ConnectSource, name: string): LoadedNetwork {
  const found = networksOf(source).find((network) => network.name === name);
  if (found !== undefined) return found;
  throw failure(
    'NETWORK_UNKNOWN',
    'not-found',
    'find the network',
    name,
    `${source.confDir} has none of that name`,
    'see portcullis network ls',
  );
}

/** Refuses capabilities that no plugin of the network declares, because no plugin would act on them. */
function refuseUndeclared({ name, list }: LoadedNetwork, wanted: readonly string[]): void {
  const declared = new Set(list.plugins.flatMap(({ capabilities }) => capabilities));
  const missing = wanted.filter((each) => !declared.has(each));
  if (missing.length === 0) return;
  throw failure(
    'NETWORK_CAPABILITY_MISSING',
    'invalid',
    'connect to the network',
    name,
    `none of its plugins declares the capability ${missing.join(', ')}`,
    `add ${missing.map((each) => `"${each}": true`).join(', ')} to 'capabilities' of its first plugin`,
  );
}

interface Target {
  readonly pod: ChainPod;
  /** Why the target must not get an interface on which our rules are not in force. */
  readonly bound?: string;
}

const podOf = (id: string, netns: string, name = '', namespace = '', uid = ''): ChainPod => ({ id, netns, pod: { name, namespace, uid } });

const noContainer = 'docker has no such container that runs';

async function targetOf(source: ConnectSource, asked: string): Promise<Target> {
  const known = await namedTarget(asked, source.dockerSocket);
  if (known === undefined) throw targetUnknown(asked, noContainer);
  const { target } = known;
  const path = pathOf(target);
  if (path !== undefined) {
    if (!namespaceStands(path)) throw targetUnknown(asked, 'no network namespace is there');
    if (isOwnNamespace(path)) throw targetUnknown(asked, "its network namespace is this host's own");
    return { pod: podOf(idOf(source, target), path, known.name) };
  }
  const pod = podNamed(source, target);
  const bound =
    pod.class === 'none' || pod.class === 'deny'
      ? `its class is ${pod.class}`
      : pod.rules !== '{}'
        ? 'rules of peers hold for it'
        : undefined;
  const { name, namespace, uid } = pod.spec.pod;
  return { pod: podOf(pod.id, pod.spec.netns, name, namespace, uid), ...(bound !== undefined && { bound }) };
}

const pathOf = (target: string): string | undefined => {
  const pid = /^pid:(?<pid>\d{1,10})$/u.exec(target)?.groups?.['pid'];
  return pid === undefined ? (target.startsWith('/') ? target : undefined) : `/proc/${pid}/ns/net`;
};

function isOwnNamespace(path: string): boolean {
  const [own, given] = [ownNamespace(), statSync(path)];
  return own.dev === given.dev && own.ino === given.ino;
}

function idOf(source: ConnectSource, target: string): string {
  const path = pathOf(target);
  if (path === undefined) return podNamed(source, target, 'any').id;
  if (!existsSync(path)) return '';
  return connectedId(statSync(path));
}

interface PodRow {
  readonly id: string;
  readonly class: string;
  readonly rules: string;
  readonly spec: AttachmentSpec;
}

function podNamed({ databasePath }: ConnectSource, target: string, wanted: 'any' | 'ready' = 'ready'): PodRow {
  const rows: PodRow[] = [];
  if (existsSync(databasePath)) {
    const database = openReadOnly(databasePath);
    try {
      for (const row of database.each("SELECT container_id, state, class, rules, spec FROM attachment WHERE origin = 'pod'")) {
        if (wanted === 'ready' && row['state'] !== 'ready') continue;
        const spec = parseJson(String(row['spec'])) as AttachmentSpec;
        rows.push({ id: String(row['container_id']), class: String(row['class']), rules: String(row['rules']), spec });
      }
    } finally {
      database.close();
    }
  }
  const named = rows.filter(
    ({ id, spec: { pod } }) =>
      target === `${pod.namespace}/${pod.name}` || target === pod.name || (target.length >= 6 && id.startsWith(target)),
  );
  const [found] = named;
  if (found === undefined) throw targetUnknown(target, 'no pod of that name or id is attached');
  if (named.length > 1) throw targetUnknown(target, `${named.length} pods are called so`);
  return found;
}

function connectedNetworks({ databasePath }: ConnectSource): string[] {
  if (!existsSync(databasePath)) return [];
  const database = openReadOnly(databasePath);
  try {
    return [...database.each("SELECT DISTINCT network FROM attachment WHERE origin = 'plugin'")].map((row) => String(row['network']));
  } finally {
    database.close();
  }
}

/**
 * Returns the names of the interfaces of all attachments of the pod or namespace. A lost attachment counts
 * too, because it is restored by its name.
 */
function recordedInterfaces({ databasePath }: ConnectSource, pod: ChainPod): ReadonlySet<string> {
  if (!existsSync(databasePath)) return new Set();
  const database = openReadOnly(databasePath);
  try {
    const rows = [...database.each("SELECT container_id, interface, origin, spec FROM attachment WHERE state <> 'detaching'")];
    const names = rows.flatMap((row): string[] => {
      const name = String(row['interface']);
      const isOwn = String(row['container_id']) === pod.id;
      if (row['origin'] !== 'pod') return isOwn ? [name] : [];
      const spec = parseJson(String(row['spec'])) as AttachmentSpec;
      if (!isOwn && !isSameNamespace(spec.netns, pod.netns)) return [];
      return [name, ...(spec.chains ?? []).map((link) => link.interface)];
    });
    return new Set(names);
  } finally {
    database.close();
  }
}

function isSameNamespace(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => statSync(path, { throwIfNoEntry: false }));
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

/** A program lists the links inside the namespace, because this thread enters no namespace. */
function freeInterface(netns: string, recorded: ReadonlySet<string>): string {
  const text = execFileSync('nsenter', [`--net=${netns}`, '--', 'cat', '/proc/self/net/dev'], { encoding: 'utf8' });
  const taken = new Set([...recorded, ...[...text.matchAll(/^\s*([^\s:]+):/gmu)].map(([, name]) => name)]);
  for (let at = 0; ; at += 1) if (!taken.has(`eth${at}`)) return `eth${at}`;
}

async function withChains<T>(source: ConnectSource, body: (chains: Chains) => Promise<T>): Promise<T> {
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  const engine = openPluginEngine({ databasePath: source.databasePath, log: source.log });
  try {
    const chains = createChains({
      callPlugin: engine.callPlugin,
      programs: { startProgram: programStarter(reactor, kernel), binDirs: source.binDirs, timeoutMs: pluginTimeoutMs },
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

const targetUnknown = (
  target: string,
  why: string,
  fix = 'give NAMESPACE/NAME or the id of a pod that runs, the path of a network namespace, pid:NUMBER, or docker://NAME',
): PortcullisError => failure('NETWORK_TARGET_UNKNOWN', 'not-found', 'find whom to connect', target, why, fix);

const targetBound = (network: string, target: string, why: string): PortcullisError =>
  failure(
    'NETWORK_TARGET_BOUND',
    'precondition',
    `connect to the network ${network}`,
    target,
    `${why}, and nothing would hold a second interface to that`,
    'connect a pod whose containers were started with a class of network.user or wider, and without rules of peers',
  );

const badInterface = (network: string, name: string): PortcullisError =>
  failure(
    'NETWORK_INTERFACE_INVALID',
    'invalid',
    `connect to the network ${network} as`,
    name,
    'it is no name for an interface',
    'give 1 to 15 characters without blanks, /, : and %',
  );

const interfaceTaken = (network: string, name: string, target: string): PortcullisError =>
  failure(
    'NETWORK_INTERFACE_TAKEN',
    'already-exists',
    `connect to the network ${network} as`,
    name,
    `an attachment of ${target} has an interface of that name`,
    'give another name by --ifname; portcullis network inspect shows whose it is',
  );

const alreadyConnected = (network: string, target: string, name: string): PortcullisError =>
  failure(
    'NETWORK_ALREADY_CONNECTED',
    'already-exists',
    `connect to the network ${network}`,
    target,
    `it is connected as ${name}`,
    'disconnect it first',
  );

const notConnected = (network: string, target: string): PortcullisError =>
  failure(
    'NETWORK_NOT_CONNECTED',
    'not-found',
    `disconnect from the network ${network}`,
    target,
    'it was not connected by this command',
    'see portcullis network inspect',
  );

function failure(code: string, kind: PortcullisError['kind'], attempted: string, on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code, kind, attempted, on, why, fix });
}
