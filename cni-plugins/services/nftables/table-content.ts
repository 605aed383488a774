import { append } from '../../../base/lists/index.ts';
import { transact } from '../../../base/netlink/index.ts';
import type { NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import { keyOf } from '../model/model.ts';
import type { Family, ServerKey, VirtualServer } from '../model/model.ts';
import { insideKeyOf, isInsideKey, planeKeyOf, planesOf } from '../model/planes.ts';
import type { PlaneKey, PlaneServer } from '../model/planes.ts';
import { packServer, unpackServer } from '../model/serialized-server.ts';
import {
  createInsideServers,
  insideChanges,
  insideElements,
  insideSourcesOf,
} from '../source-ranges/inside-sources.ts';
import type { InsideServers } from '../source-ranges/inside-sources.ts';
import { towardsLeast } from '../slots/least-connections.ts';
import { activeCounts, forgetStale } from './connections.ts';
import {
  addressBytes,
  digestOf,
  elementChanges,
  elementRequests,
  emptyOf,
  keyBytes,
  rangeChanges,
  rangeElements,
  sharedElements,
  unread,
} from './elements.ts';
import type { ElementChange, Standing } from './elements.ts';
import { compactServer, standingOf } from './compact-server.ts';
import type { CompactServer } from './compact-server.ts';
import { createElementMessages, encodedServer } from './encoded-server.ts';
import type { EncodedServer } from './encoded-server.ts';
import { createModes } from './modes.ts';
import type { Modes } from './modes.ts';
import { nameOf, planOf } from './plan.ts';
import { makeMode, readSlots } from './readout.ts';
import { tableOf } from './rules.ts';

/** The content of the table of one family, and how it changes. */
export interface TableContent {
  readonly family: Family;
  readonly standing: Map<PlaneKey, CompactServer>;
  /** The servers in `standing` that get new weights each second. */
  readonly weighed: Set<PlaneKey>;
  /** The servers in `standing` with source ranges. */
  readonly restricted: Set<ServerKey>;
  /** The servers in `standing` that remember clients together with another one. */
  readonly shared: Set<PlaneKey>;
  /** The sources of connections from inside, by the servers in `standing` that have any: few have. */
  readonly insides: InsideServers;
  /** The host's address with which their elements were made. */
  own: Buffer | undefined;
  readonly modes: Modes;
  /** Number of virtual servers at each address at which every other port is refused. */
  readonly addresses: Map<string, number>;
}

export const emptyTableContent = (family: Family, own: Buffer | undefined): TableContent => ({
  family,
  standing: new Map(),
  weighed: new Set(),
  restricted: new Set(),
  insides: createInsideServers(),
  shared: new Set(),
  own,
  modes: createModes(),
  addresses: new Map(),
});

/** `lc` is weighed again each second. Until then the balancer uses the configured weights. */
const weighsConnections = ({ scheduler }: VirtualServer): boolean => scheduler === 'lc';

/**
 * @param existing absent: the server is gone
 * @param encoded its elements, if they are encoded already
 */
export function hold(
  { standing: all, weighed, restricted, insides, shared }: TableContent,
  key: PlaneKey,
  existing: Standing | undefined,
  encoded?: EncodedServer,
): void {
  if (existing === undefined) all.delete(key);
  else all.set(key, compactServer(existing, encoded));
  if (existing !== undefined && weighsConnections(existing.server)) weighed.add(key);
  else weighed.delete(key);
  if (existing?.server.sourceRanges === undefined) restricted.delete(key);
  else restricted.add(key);
  if (existing?.server.remembersAs !== undefined) shared.add(key);
  else if (shared.size > 0) shared.delete(key);
  if (existing?.server.insideSources !== undefined) insides.set(key, insideSourcesOf(existing.server));
  else if (insides.size > 0) insides.delete(key);
}

const rangesOf = (existing: Standing | undefined, own: Buffer | undefined): readonly ElementChange[] =>
  existing === undefined ? [] : rangeElements(existing.server, existing.key, own);

/**
 * Counts one server more or less at an address, if the server counts there.
 * @returns how many there are now; undefined: it does not count
 */
export function countAddress(
  { addresses }: TableContent,
  { kind, address, plane }: PlaneServer,
  more: 1 | -1,
): number | undefined {
  if (kind !== 'virtual' || address === undefined || plane !== undefined) return undefined;
  const now = (addresses.get(address) ?? 0) + more;
  if (now === 0) addresses.delete(address);
  else addresses.set(address, now);
  return now;
}

/**
 * Returns the wanted state of a server, and the requests for a mode that is new with it. Takes and releases
 * modes: if the kernel then refuses the change, the holding is useless.
 */
function settle(
  holding: TableContent,
  server: PlaneServer,
  before: Standing | undefined,
  weights?: ReadonlyMap<string, number>,
  former = before?.plan?.slots,
): [Standing, Request[]] {
  if (before !== undefined) holding.modes.release(before.mode);
  const plan = planOf(server, former, weights);
  const { number, made } = holding.modes.use(plan, emptyOf(server), before?.mode);
  const existing: Standing = {
    server,
    mode: number,
    digest: digestOf(server),
    key: before?.key ?? keyBytes(server),
    ...(plan === undefined ? {} : { plan }),
  };
  return [existing, made === undefined ? [] : makeMode(holding.family, number, made)];
}

/**
 * Returns the slots in which clients are held so far. Servers that remember clients together have the same
 * slots: those of the server as which they remember them.
 * @param find returns a server with its slots
 */
export function formerSlots(
  server: PlaneServer,
  before: Standing | undefined,
  find: (key: ServerKey) => Standing | undefined,
): readonly string[] | undefined {
  const { remembersAs, family, protocol } = server;
  const shared = remembersAs && find(keyOf({ ...remembersAs, family, protocol }));
  return (shared?.server.persistenceSeconds === undefined ? before : shared)?.plan?.slots;
}

/** Reads the slots if they have not been read yet. */
export function withSlots(filter: NetlinkSocket, family: Family, existing: Standing): Standing {
  const { plan, key } = existing;
  return plan?.slots === unread
    ? { ...existing, plan: { ...plan, slots: readSlots(filter, family, key, plan.size) } }
    : existing;
}

/**
 * Returns the change for one server more or less at an address: the address comes with the first, and goes
 * with the last.
 */
function addressChanges(holding: TableContent, server: VirtualServer, more: 1 | -1): ElementChange[] {
  const now = countAddress(holding, server, more);
  if (now === undefined || server.address === undefined || now > 1 || (now === 1 && more === -1)) return [];
  return [{ set: 'addresses', key: addressBytes(server.address), put: more === 1 }];
}

/** Returns the planes to put and to remove. A server that is no longer split loses its inside plane. */
function planesToChange(
  { standing, insides }: TableContent,
  put: readonly VirtualServer[],
  remove: readonly ServerKey[],
): { readonly putPlanes: readonly PlaneServer[]; readonly removePlanes: readonly PlaneKey[] } {
  const putPlanes = planesOf(put);
  // Only a server with sources of connections from inside is split, and few have any.
  const perhapsSplit =
    insides.size === 0 ? [] : [...remove, ...put.map(keyOf)].filter((key) => insides.has(key));
  if (perhapsSplit.length === 0) return { putPlanes, removePlanes: remove };
  const stay = new Set(putPlanes.map(planeKeyOf));
  const gone = perhapsSplit.map(insideKeyOf).filter((key) => standing.has(key) && !stay.has(key));
  return { putPlanes, removePlanes: [...remove, ...gone] };
}

/** The state of a server after a change. */
interface Held {
  /** Absent: it is gone. */
  readonly existing?: Standing;
  /** Its elements, if they are encoded already. */
  readonly encoded?: EncodedServer;
}

/** Returns the requests that bring the sources of connections from inside to those of these servers. */
function sourceRequests(
  { family, insides }: TableContent,
  after: ReadonlyMap<PlaneKey, Held>,
): readonly Request[] {
  const now = insides.sourcesAfter(insideSourcesIn(after));
  return now === undefined
    ? []
    : insideChanges(tableOf(family), insideElements(insides.sources(), family), insideElements(now, family));
}

function* insideSourcesIn(after: ReadonlyMap<PlaneKey, Held>): Generator<[ServerKey, string | undefined]> {
  for (const [key, { existing }] of after)
    yield [key, existing?.server.insideSources && insideSourcesOf(existing.server)];
}

/** Whether only the maps of servers and slots have elements of the server. */
const isPlain = ({ sourceRanges, insideSources, remembersAs, insideRemembersAs }: VirtualServer): boolean =>
  sourceRanges === undefined &&
  insideSources === undefined &&
  remembersAs === undefined &&
  insideRemembersAs === undefined;

/**
 * Whether the elements of a server are those of another one at its place, because at most destinations that
 * get no connections differ: a backend that drained is gone.
 */
function areElementsOf(former: VirtualServer, server: VirtualServer): boolean {
  const [had, has] = [former, server].map(({ destinations }) =>
    destinations.filter(({ weight }) => weight > 0),
  );
  return (
    former.kind === server.kind &&
    former.scheduler === server.scheduler &&
    !weighsConnections(server) &&
    former.clientAffinity === server.clientAffinity &&
    former.persistenceSeconds === server.persistenceSeconds &&
    former.sourceAddress === server.sourceAddress &&
    isPlain(former) &&
    isPlain(server) &&
    former.drops === server.drops &&
    had?.length === has?.length &&
    had?.every((each, at) => {
      const other = has?.[at];
      return other !== undefined && nameOf(each) === nameOf(other) && each.weight === other.weight;
    }) === true
  );
}

/** A change of the table. The holding is useless unless the kernel takes it. */
export interface PlannedChange {
  readonly requests: readonly Request[];
  /**
   * Called when the kernel has taken the requests. @returns whether modes are new
   * @throws NETWORK_KERNEL_…; the holding is useless then
   */
  taken(): boolean;
}

/**
 * @returns whether modes are new
 * @throws NETWORK_KERNEL_…; the holding is useless then
 */
export function putServers(
  filter: NetlinkSocket,
  holding: TableContent,
  servers: readonly VirtualServer[],
): boolean {
  const { requests, taken } = planChange(filter, holding, servers, []);
  transact(filter, requests);
  return taken();
}

/**
 * Computes a change, and reads from the kernel what it depends on.
 * @throws NETWORK_KERNEL_…; the holding is useless then
 */
export function planChange(
  filter: NetlinkSocket,
  holding: TableContent,
  put: readonly VirtualServer[],
  remove: readonly ServerKey[],
): PlannedChange {
  const { putPlanes, removePlanes } = planesToChange(holding, put, remove);
  const requests: Request[] = [];
  const changes: ElementChange[] = [];
  const stale: VirtualServer[] = [];
  const after = new Map<PlaneKey, Held>();
  const table = tableOf(holding.family);
  const added = createElementMessages(table);
  const standingAs = (kept: CompactServer, server?: PlaneServer): Standing =>
    withSlots(filter, holding.family, standingOf(kept, holding.modes, server));
  const nowOf = (key: PlaneKey): Standing | undefined => {
    const changed = after.get(key);
    const kept = changed === undefined ? holding.standing.get(key) : undefined;
    return kept === undefined ? changed?.existing : standingAs(kept);
  };
  for (const key of removePlanes) {
    const kept = after.has(key) ? undefined : holding.standing.get(key);
    if (kept === undefined) continue;
    const before = standingAs(kept);
    holding.modes.release(before.mode);
    append(changes, [...elementChanges(before, undefined), ...addressChanges(holding, before.server, -1)]);
    append(changes, rangeChanges(rangesOf(before, holding.own), []));
    if (!isInsideKey(key)) stale.push({ ...before.server, destinations: [] });
    after.set(key, {});
  }
  for (const server of putPlanes) {
    const key = planeKeyOf(server);
    const changed = after.get(key);
    const kept = changed === undefined ? holding.standing.get(key) : undefined;
    const former = kept && unpackServer(kept.packed);
    if (former !== undefined && areElementsOf(former, server) && kept && holding.modes.isKept(kept.mode)) {
      holding.standing.set(key, { ...kept, packed: packServer(server) });
      if (losesDestinations(former, server)) stale.push(server);
      continue;
    }
    const before = kept === undefined ? changed?.existing : standingAs(kept, former);
    const [existing, made] = settle(holding, server, before, undefined, formerSlots(server, before, nowOf));
    append(requests, made);
    let encoded: EncodedServer | undefined;
    if (kept === undefined && changed === undefined) {
      encoded = encodedServer(existing);
      added.add(encoded, server.kind === 'node' ? 'nodes' : 'servers', existing.plan?.size);
      append(changes, sharedElements(existing));
    } else append(changes, elementChanges(before, existing));
    const ranges = rangeChanges(rangesOf(before, holding.own), rangesOf(existing, holding.own));
    append(changes, ranges);
    if (before === undefined && countAddress(holding, server, 1) === 1)
      added.addKey('addresses', addressBytes(server.address ?? ''));
    if (before !== undefined && before.server.kind !== server.kind)
      append(changes, [...addressChanges(holding, before.server, -1), ...addressChanges(holding, server, 1)]);
    // The destinations of both planes are those of the server.
    if (
      server.plane === undefined &&
      (before === undefined || ranges.length > 0 || losesDestinations(before.server, server))
    )
      stale.push(server);
    after.set(key, { existing, ...(encoded !== undefined && { encoded }) });
  }
  const reshaped = requests.length > 0;
  append(requests, sourceRequests(holding, after));
  return {
    requests: [...requests, ...elementRequests(table, changes), ...added.take()],
    taken() {
      after.forEach(({ existing, encoded }, key) => hold(holding, key, existing, encoded));
      forgetStale(filter, holding.family, stale, holding.own);
      return reshaped;
    },
  };
}

/** Recomputes whether the host itself may connect, because its address changed. */
export function relocate(filter: NetlinkSocket, holding: TableContent, own: Buffer | undefined): void {
  if (holding.restricted.size === 0 || holding.own?.toString('hex') === own?.toString('hex')) return;
  const changes = [...holding.restricted].flatMap((key) => {
    const kept = holding.standing.get(key);
    const existing = kept && standingOf(kept, holding.modes);
    return rangeChanges(rangesOf(existing, holding.own), rangesOf(existing, own));
  });
  transact(filter, elementRequests(tableOf(holding.family), changes));
  holding.own = own;
}

function losesDestinations(before: VirtualServer, after: VirtualServer): boolean {
  const has = new Set(after.destinations.map(nameOf));
  return before.destinations.some((destination) => !has.has(nameOf(destination)));
}

/** Gives every server with `lc` its weights for this second. @returns whether modes are new */
export function reweigh(filter: NetlinkSocket, holding: TableContent): boolean {
  const servers = [...holding.weighed].flatMap((key) => {
    const kept = holding.standing.get(key);
    return kept === undefined ? [] : [standingOf(kept, holding.modes)];
  });
  if (servers.length === 0) return false;
  const counts = activeCounts(
    filter,
    holding.family,
    servers.map(({ server }) => server),
  );
  const requests: Request[] = [];
  const changes: ElementChange[] = [];
  for (const existing of servers) {
    const before = withSlots(filter, holding.family, existing);
    const active = counts.get(keyOf(before.server));
    const loads = before.server.destinations
      .filter(({ weight }) => weight > 0)
      .map((destination) => ({
        name: nameOf(destination),
        weight: destination.weight,
        active: active?.get(nameOf(destination)) ?? 0,
      }));
    if (loads.length < 2) continue;
    const weights = new Map(towardsLeast(loads).map(({ name, weight }) => [name, weight]));
    const [after, made] = settle(holding, before.server, before, weights);
    append(requests, made);
    append(changes, elementChanges(before, after));
    hold(holding, planeKeyOf(before.server), after);
  }
  transact(filter, [...requests, ...elementRequests(tableOf(holding.family), changes)]);
  return requests.length > 0;
}
