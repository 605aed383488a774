import { append } from '../../../base/lists/index.ts';
import { isRefusal, listElements, readListedElements, transact, u32 } from '../../../base/netlink/index.ts';
import type { NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import { formatIp, ipFromBytes } from '../../../base/addresses/index.ts';
import { givingMemoryBack } from '../model/memory.ts';
import type { Family, ServerKey, VirtualServer } from '../model/model.ts';
import { insideOf, isSplit, planeKeyOf } from '../model/planes.ts';
import type { PlaneServer } from '../model/planes.ts';
import { packServer, unpackServer } from '../model/serialized-server.ts';
import { insideChanges, insideElements, insideSourcesSet } from '../source-ranges/inside-sources.ts';
import { deniedSet, rangesSet, restrictedMap } from '../source-ranges/rules.ts';
import { forgetStale } from './connections.ts';
import {
  addressBytes,
  digestOf,
  elementChanges,
  elementRequests,
  emptyOf,
  keyBytes,
  leadOf,
  rangeChanges,
  rangeElements,
  sharedElements,
} from './elements.ts';
import type { ElementChange, Standing } from './elements.ts';
import {
  putServers,
  countAddress,
  emptyTableContent,
  formerSlots,
  hold,
  withSlots,
} from './table-content.ts';
import type { TableContent } from './table-content.ts';
import { planOfMode, standingOf } from './compact-server.ts';
import { isEmptyMode, refuseMode } from './empty-modes.ts';
import { insideBit } from './inside-plane.ts';
import { planOf } from './plan.ts';
import { createTable, haveSlots, listMap, makeMode, readSlots, standingModes } from './readout.ts';
import type { Listed } from './readout.ts';
import { sharedMap, tableOf } from './rules.ts';

/**
 * Brings the kernel from any state to the wanted one, and preserves client assignments as far as possible.
 * The existing state of a server is recognized by the digest beside its mode, which was written in one
 * transaction with its slots. Slots are read only for servers that change.
 */

/** A transaction of this many servers takes some MiB, and ten times as much as objects. */
const serversAtOnce = 250;

export interface Reconciled {
  readonly holding: TableContent;
  /** Servers and addresses that differed. A table that was missing or not ours counts as one more. */
  readonly differences: number;
}

/**
 * @param afterLoss the previous process may have been lost after it changed the table and before it ended the
 * stale connections
 * @param own the host's address of the family
 * @param former what the table held before the comparison: elements that are kept stay so
 * @throws NETWORK_KERNEL_…
 */
export function bring(
  filter: NetlinkSocket,
  family: Family,
  all: Iterable<VirtualServer>,
  afterLoss = true,
  own?: Buffer,
  former?: TableContent,
): Reconciled {
  const servers: Iterable<PlaneServer> = {
    *[Symbol.iterator]() {
      for (const server of givingMemoryBack(all))
        if (server.family === family) {
          yield server;
          if (isSplit(server)) yield insideOf(server);
        }
    },
  };
  const modes = standingModes(filter, family);
  if (modes === undefined) return rebuild(filter, family, servers, own);
  const holding = emptyTableContent(family, own);
  for (const [number, mode] of modes) holding.modes.adopt(number, mode);
  const leads = { servers: listMap(filter, family, 'servers'), nodes: listMap(filter, family, 'nodes') };
  const changing = adoptStanding(holding, servers, leads, former);
  if (!haveSlots(filter, family, givingMemoryBack(adopted(holding))))
    return rebuild(filter, family, servers, own);

  const requests: Request[] = [];
  const changes: ElementChange[][] = [];
  const standing = (key: ServerKey): Standing | undefined => {
    const kept = holding.standing.get(key);
    return kept && withSlots(filter, family, standingOf(kept, holding.modes));
  };
  for (const { server, former } of changing) {
    const before = former === undefined ? undefined : formerOf(filter, holding, server, former);
    const plan = planOf(server, formerSlots(server, before, standing));
    const { number, made } = holding.modes.use(plan, emptyOf(server), before?.mode);
    if (made !== undefined) append(requests, makeMode(family, number, made));
    const after: Standing = {
      server,
      mode: number,
      digest: digestOf(server),
      key: keyBytes(server),
      ...(plan === undefined ? {} : { plan }),
    };
    changes.push(elementChanges(before, after).filter(({ set }) => set !== sharedMap));
    hold(holding, planeKeyOf(server), after);
    countAddress(holding, server, 1);
  }
  const gone = [...leftovers(leads, family)];
  for (const [server, former] of gone)
    changes.push(elementChanges(formerOf(filter, holding, server, former), undefined));
  const sources = insideChanges(
    tableOf(family),
    filter.dump(listElements(tableOf(family), insideSourcesSet)).flatMap(readListedElements),
    insideElements(holding.insides.sources(), family),
  );
  append(requests, sources);
  const addresses = addressChanges(filter, holding);
  const ranges = [...standingRangeChanges(filter, holding), ...sharedChanges(filter, holding)];
  try {
    // Source ranges are set before a server needs them, and removed after.
    transactInParts(filter, family, requests, [
      ...ranges.filter(({ put }) => put).map((change) => [change]),
      ...changes,
      ...addresses.map((change) => [change]),
      ...ranges.filter(({ put }) => !put).map((change) => [change]),
    ]);
  } catch (thrown) {
    // Another program left slots without their server, or removed some of them.
    if (!isRefusal(thrown, 'EEXIST', 'ENOENT')) throw thrown;
    return rebuild(filter, family, servers, own);
  }
  const suspect = afterLoss ? ofUdp(servers) : changing.map(({ server }) => server);
  const mayBeStale = [...suspect, ...gone.map(([server]) => server)];
  // The destinations of both planes are those of the server.
  forgetStale(
    filter,
    family,
    mayBeStale.filter(({ plane }) => plane === undefined),
    own,
  );
  const differences = changing.length + gone.length + addresses.length + ranges.length;
  return { holding, differences: differences + Math.min(1, sources.length) };
}

/**
 * Returns the servers whose connections may be forgotten. All servers as objects would take many times the
 * memory of their texts.
 */
function ofUdp(servers: Iterable<PlaneServer>): PlaneServer[] {
  const found: PlaneServer[] = [];
  for (const server of servers) if (server.protocol === 'udp') found.push(server);
  return found;
}

function rebuild(
  filter: NetlinkSocket,
  family: Family,
  servers: Iterable<PlaneServer>,
  own: Buffer | undefined,
): Reconciled {
  transact(filter, createTable(family));
  const holding = emptyTableContent(family, own);
  let portion: VirtualServer[] = [];
  let differences = 1;
  const make = (): void => {
    putServers(filter, holding, portion);
    differences += portion.length;
    portion = [];
  };
  for (const server of servers)
    if (server.plane === undefined && portion.push(server) === serversAtOnce) make();
  make();
  return { holding, differences };
}

/** Yields what was taken over unchanged. */
function* adopted({
  standing: existing,
  modes,
}: TableContent): Generator<{ readonly key: Buffer; readonly size: number }> {
  for (const { packed, mode } of existing.values()) {
    const size = modes.modeOf(mode)?.size;
    if (size !== undefined) yield { key: keyBytes(unpackServer(packed)), size };
  }
}

interface Leads {
  readonly servers: Map<string, Listed>;
  readonly nodes: Map<string, Listed>;
}

interface Changing {
  readonly server: PlaneServer;
  readonly former?: Listed;
}

/**
 * Moves existing servers that match the wanted ones into the holding and out of `leads`.
 * @returns the others
 */
function adoptStanding(
  holding: TableContent,
  servers: Iterable<PlaneServer>,
  leads: Leads,
  before: TableContent | undefined,
): Changing[] {
  const changing: Changing[] = [];
  for (const server of servers) {
    const key = keyBytes(server);
    const set = server.kind === 'node' ? leads.nodes : leads.servers;
    const place = leadOf({ server, key, mode: refuseMode, digest: '' }).key.toString('latin1');
    const former = set.get(place);
    set.delete(place);
    const number = former?.value ?? refuseMode;
    const plan = planOfMode(holding.modes, number);
    const digest = digestOf(server);
    if (former?.comment !== digest || (plan === undefined && !isEmptyMode(number))) {
      changing.push({ server, ...(former === undefined ? {} : { former }) });
      continue;
    }
    holding.modes.join(number);
    const kept = before?.standing.get(planeKeyOf(server));
    hold(
      holding,
      planeKeyOf(server),
      { server, mode: number, digest, key, ...(plan === undefined ? {} : { plan }) },
      kept?.mode === number && kept.packed === packServer(server) ? kept.encoded : undefined,
    );
    countAddress(holding, server, 1);
  }
  // Servers that share the clients of another one get its slots.
  return changing.toSorted((a, b) => isSharing(a) - isSharing(b));
}

const isSharing = ({ server: { remembersAs } }: Changing): number => (remembersAs === undefined ? 0 : 1);

/** Returns the server as the kernel has it, with its slots. */
function formerOf(
  filter: NetlinkSocket,
  holding: TableContent,
  server: PlaneServer,
  { value, comment = '' }: Listed,
): Standing {
  const key = keyBytes(server);
  const mode = value ?? refuseMode;
  const plan = planOfMode(holding.modes, mode);
  return {
    server,
    mode,
    key,
    digest: comment,
    ...(plan === undefined
      ? {}
      : { plan: { ...plan, slots: readSlots(filter, holding.family, key, plan.size) } }),
  };
}

const protocols: Readonly<Record<number, VirtualServer['protocol']>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

/** Yields servers that are no longer wanted, with as much as their keys say. */
function* leftovers(leads: Leads, family: Family): Generator<readonly [PlaneServer, Listed]> {
  for (const [set, kind] of [
    ['servers', 'virtual'],
    ['nodes', 'node'],
  ] as const)
    for (const [text, former] of leads[set]) {
      const key = Buffer.from(text, 'latin1');
      const [number, port] = [key.readUInt8(key.length - 8), key.readUInt16BE(key.length - 4)];
      const protocol = protocols[number & ~insideBit] ?? 'tcp';
      const plane = (number & insideBit) === 0 ? {} : ({ plane: 'inside' } as const);
      const address =
        kind === 'virtual' ? { address: formatIp(ipFromBytes(key.subarray(0, key.length - 8))) } : {};
      yield [{ ...nothing, kind, family, protocol, port, ...address, ...plane }, former];
    }
}

const nothing = {
  service: '',
  portName: '',
  scheduler: 'rr',
  clientAffinity: false,
  forwarding: 'nat',
  sourceAddress: 'keep',
  destinations: [],
} as const;

/** Returns the changes that bring the set to the counted addresses. */
function addressChanges(filter: NetlinkSocket, { family, addresses }: TableContent): ElementChange[] {
  const wanted = new Map(
    [...addresses.keys()].map((address) => [addressBytes(address).toString('latin1'), addressBytes(address)]),
  );
  const found = listMap(filter, family, 'addresses');
  return [
    ...[...found.keys()]
      .filter((key) => !wanted.has(key))
      .map((key) => ({ set: 'addresses', key: Buffer.from(key, 'latin1'), put: false })),
    ...[...wanted]
      .filter(([key]) => !found.has(key))
      .map(([, key]) => ({ set: 'addresses', key, put: true })),
  ];
}

/** Returns the changes that bring the source range sets to the ranges of all restricted servers. */
function standingRangeChanges(
  filter: NetlinkSocket,
  { family, restricted, standing: existing, own }: TableContent,
): ElementChange[] {
  const wanted = [...restricted].flatMap((key) => {
    const server = unpackServer(existing.get(key)?.packed ?? '');
    return rangeElements(server, keyBytes(server), own);
  });
  const found = [rangesSet, deniedSet, restrictedMap].flatMap((set) =>
    [...listMap(filter, family, set)].map(([text, { value }]): ElementChange => {
      const key = Buffer.from(text, 'latin1');
      return { set, key, put: true, ...(value !== undefined && { value: u32(value) }) };
    }),
  );
  return rangeChanges(found, wanted);
}

/** Returns the changes that bring the map of servers that share clients to what all servers want. */
function sharedChanges(
  filter: NetlinkSocket,
  { family, shared, standing: existing }: TableContent,
): ElementChange[] {
  const wanted = [...shared].flatMap((key) => {
    const server: PlaneServer = unpackServer(existing.get(key)?.packed ?? '');
    return sharedElements({ server, key: keyBytes(server) });
  });
  const found = filter
    .dump(listElements(tableOf(family), sharedMap))
    .flatMap(readListedElements)
    .map(({ key, value }) => ({ set: sharedMap, key, put: true, ...(value !== undefined && { value }) }));
  return rangeChanges(found, wanted);
}

/**
 * The digest of a server asserts that all its slots exist. So all changes of one server go in one
 * transaction, in case the process is lost between two transactions.
 */
function transactInParts(
  filter: NetlinkSocket,
  family: Family,
  first: readonly Request[],
  changes: readonly (readonly ElementChange[])[],
): void {
  const atOnce = 32 * serversAtOnce;
  let requests = first;
  let part: ElementChange[] = [];
  const bringPart = (): void => {
    transact(filter, [...requests, ...elementRequests(tableOf(family), part)]);
    requests = [];
    part = [];
  };
  for (const own of changes) {
    if (part.length > 0 && part.length + own.length > atOnce) bringPart();
    append(part, own);
  }
  bringPart();
}
