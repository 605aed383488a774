import { transact } from '../../netlink/nftables.ts';
import type { NetlinkSocket, Request } from '../../netlink/socket.ts';
import { formatIp, ipFromBytes } from '../../spec/address.ts';
import { keyOf } from '../model.ts';
import type { Family, VirtualServer } from '../model.ts';
import { forgetStale } from './connections.ts';
import { elementChanges, elementRequests, keyBytes } from './elements.ts';
import type { ElementChange, Standing } from './elements.ts';
import { applyChange, emptyHolding } from './holding.ts';
import type { Holding } from './holding.ts';
import { planOf } from './plan.ts';
import { createTable, listMap, makeMode, standingModes } from './readout.ts';
import { slotMap, tableOf } from './rules.ts';
import { addressBytes } from './elements.ts';
import { slotSizes } from '../slots/sizes.ts';

/** From whatever the kernel holds to what is wanted, with what clients have kept as far as it can be. */

/** A transaction of so many servers is some MiB. */
const serversAtOnce = 2000;
const sets = ['servers', 'nodes', ...slotSizes.map(slotMap), 'addresses'] as const;

export interface Reconciled {
  readonly holding: Holding;
  /** Elements that differed; a table that was missing or not ours counts as one more. */
  readonly differences: number;
}

/** @throws NETWORK_KERNEL_… */
export function bring(filter: NetlinkSocket, family: Family, servers: readonly VirtualServer[]): Reconciled {
  const modes = standingModes(filter, family);
  if (modes === undefined) return rebuild(filter, family, servers);
  const holding = emptyHolding(family);
  for (const [number, mode] of modes) holding.modes.adopt(number, mode);
  const found = new Map<string, Map<string, Buffer | undefined>>(sets.map((set) => [set, listMap(filter, family, set)]));
  const requests: Request[] = [];
  const wanted: ElementChange[] = [];
  const settled = settleAll(holding, servers, found);
  for (const { standing, made } of settled) {
    requests.push(...made);
    wanted.push(...elementChanges(undefined, standing));
    holding.standing.set(keyOf(standing.server), standing);
  }
  for (const { server } of holding.standing.values())
    if (server.kind === 'virtual' && server.address !== undefined)
      holding.addresses.set(server.address, (holding.addresses.get(server.address) ?? 0) + 1);
  for (const address of holding.addresses.keys()) wanted.push({ set: 'addresses', key: addressBytes(address), put: true });
  const changes = differences(found, wanted);
  transactInParts(filter, requests, elementsInParts(family, changes));
  if (changes.length > 0) forgetStale(filter, family, servers);
  return { holding, differences: changes.length };
}

function rebuild(filter: NetlinkSocket, family: Family, servers: readonly VirtualServer[]): Reconciled {
  transact(filter, createTable(family));
  const holding = emptyHolding(family);
  for (let at = 0; at < servers.length; at += serversAtOnce) applyChange(filter, holding, servers.slice(at, at + serversAtOnce), []);
  return { holding, differences: servers.length + 1 };
}

interface Settled {
  readonly standing: Standing;
  readonly made: readonly Request[];
}

/** Those first that have a counter: nobody else takes it. */
function settleAll(
  holding: Holding,
  servers: readonly VirtualServer[],
  found: ReadonlyMap<string, ReadonlyMap<string, Buffer | undefined>>,
): Settled[] {
  const formerOf = (server: VirtualServer, key: Buffer): number | undefined =>
    (server.kind === 'node'
      ? found.get('nodes')?.get(key.toString('latin1', key.length - 8))
      : found.get('servers')?.get(key.toString('latin1'))
    )?.readUInt32LE(0);
  const all = servers.map((server) => {
    const key = keyBytes(server);
    const former = formerOf(server, key);
    const draw = former === undefined ? undefined : holding.modes.modeOf(former)?.draw;
    return { server, key, former, counts: draw?.startsWith('turn') === true };
  });
  return all
    .toSorted((a, b) => Number(b.counts) - Number(a.counts))
    .map(({ server, key, former }) => {
      const size = former === undefined ? undefined : holding.modes.modeOf(former)?.size;
      const plan = planOf(server, size === undefined ? [] : standingSlots(found.get(slotMap(size)) ?? new Map(), key, size));
      const { number, made } = holding.modes.use(plan, former);
      return {
        standing: { server, key, mode: number, ...(plan === undefined ? {} : { plan }) },
        made: made === undefined ? [] : makeMode(holding.family, number, made),
      };
    });
}

function standingSlots(map: ReadonlyMap<string, Buffer | undefined>, key: Buffer, size: number): string[] {
  const slots: string[] = [];
  const slotKey = Buffer.concat([key, Buffer.alloc(4)]);
  for (let slot = 0; slot < size; slot += 1) {
    slotKey.writeUInt32LE(slot, key.length);
    const value = map.get(slotKey.toString('latin1'));
    if (value === undefined) return slots;
    const width = value.length - 4;
    slots.push(`${formatIp(ipFromBytes(value.subarray(0, width)))} ${value.readUInt16BE(width)}`);
  }
  return slots;
}

function differences(found: ReadonlyMap<string, Map<string, Buffer | undefined>>, wanted: readonly ElementChange[]): ElementChange[] {
  const changes: ElementChange[] = [];
  for (const change of wanted) {
    const set = found.get(change.set);
    const key = change.key.toString('latin1');
    const stands = set?.has(key) === true;
    const same = stands && (change.value === undefined || set.get(key)?.equals(change.value) === true);
    set?.delete(key);
    if (same) continue;
    if (stands) changes.push({ set: change.set, key: change.key, put: false });
    changes.push(change);
  }
  for (const [set, left] of found) for (const key of left.keys()) changes.push({ set, key: Buffer.from(key, 'latin1'), put: false });
  return changes;
}

/** All deletions of a part come before its additions; a key's own stand beside each other, and so in one part or in that order. */
function elementsInParts(family: Family, changes: readonly ElementChange[]): Request[][] {
  const parts: Request[][] = [];
  for (let at = 0; at < changes.length; at += 32 * serversAtOnce)
    parts.push(elementRequests(tableOf(family), changes.slice(at, at + 32 * serversAtOnce)));
  return parts;
}

function transactInParts(filter: NetlinkSocket, first: readonly Request[], parts: readonly (readonly Request[])[]): void {
  transact(filter, [...first, ...(parts[0] ?? [])]);
  for (const part of parts.slice(1)) transact(filter, part);
}
