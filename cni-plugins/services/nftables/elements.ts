import { hash } from 'node:crypto';
import { addElements, deleteElements, u32 } from '../../../base/netlink/index.ts';
import type { Element, Table, Request } from '../../../base/netlink/index.ts';
import { append } from '../../../base/lists/index.ts';
import { ipTextBytes } from '../../../base/addresses/index.ts';
import type { Family, VirtualServer } from '../model/model.ts';
import { isSplit } from '../model/planes.ts';
import type { PlaneServer } from '../model/planes.ts';
import { rangeElementsOf } from '../source-ranges/elements.ts';
import type { EmptyMode } from './empty-modes.ts';
import { insideBit } from './inside-plane.ts';
import { nameOf } from './plan.ts';
import type { Plan } from './plan.ts';
import { sharedMap, slotMap } from './rules.ts';

/** Translates a virtual server to elements of the maps in rules.ts, and computes their changes. Pure. */

export const protocolNumbers: Readonly<Record<VirtualServer['protocol'], number>> = {
  tcp: 6,
  udp: 17,
  sctp: 132,
};

/** A server as the kernel holds it, while it is worked on. kept.ts defines what is kept of it. */
export interface Standing {
  readonly server: PlaneServer;
  /** Absent: the server has no destination for a connection. */
  readonly plan?: Plan;
  /** The number of its mode in the map `modes`. */
  readonly mode: number;
  /** Address, protocol and port, each padded: the start of the keys. The address of a node port is zero. */
  readonly key: Buffer;
  /** {@link digestOf} the server. */
  readonly digest: string;
}

/** Slots that exist in the kernel and were not read yet. */
export const unread: readonly string[] = Object.freeze([]);

/**
 * Returns a digest of everything that determines a server's slots. The kernel keeps it beside the server's
 * mode, so that the slots do not have to be read for a comparison.
 */
export function digestOf(server: PlaneServer): string {
  const { scheduler, clientAffinity, persistenceSeconds, sourceAddress, kind, destinations, sourceRanges } =
    server;
  // JSON, which is written here because no value needs an escape.
  let made = `["${scheduler}",${clientAffinity},${persistenceSeconds ?? null},"${sourceAddress}","${kind}",${sourceRanges !== undefined}`;
  for (const each of destinations) if (each.weight > 0) made += `,"${nameOf(each)}",${each.weight}`;
  if (server.drops === true) made += ',"drops"';
  if (isSplit(server)) made += ',"split"';
  if (server.remembersAs !== undefined) made += `,${JSON.stringify(server.remembersAs)}`;
  return hash('sha256', `${made}]`, 'hex').slice(0, 24);
}

const unspecified: Readonly<Record<Family, Buffer>> = { 4: Buffer.alloc(4), 6: Buffer.alloc(16) };

export function addressBytes(address: string): Buffer {
  const bytes = ipTextBytes(address);
  if (bytes === undefined) throw new TypeError(`no address: ${address}`);
  return bytes;
}

/** Returns the mode of a server while it has no destination for a connection. */
export const emptyOf = (server: PlaneServer): EmptyMode => ({
  restricted: server.sourceRanges !== undefined,
  split: isSplit(server),
  drops: server.drops === true,
});

export function keyBytes({
  family,
  address,
  protocol,
  port,
  plane,
}: Pick<PlaneServer, 'address' | 'family' | 'plane' | 'port' | 'protocol'>): Buffer {
  const at = address === undefined ? unspecified[family] : addressBytes(address);
  const bytes = Buffer.allocUnsafe(at.length + 8);
  bytes.set(at);
  bytes.writeUInt32LE(protocolNumbers[protocol] | (plane === undefined ? 0 : insideBit), at.length);
  writePort(bytes, at.length + 4, port);
  return bytes;
}

/** The port in network order, padded like each part of a concatenated key or value. */
function writePort(bytes: Buffer, at: number, port: number): void {
  bytes.writeUInt16BE(port, at);
  bytes.writeUInt16BE(0, at + 2);
}

export function destinationBytes(name: string): Buffer {
  const space = name.indexOf(' ');
  const address = addressBytes(name.slice(0, space));
  const bytes = Buffer.allocUnsafe(address.length + 4);
  bytes.set(address);
  writePort(bytes, address.length, Number(name.slice(space + 1)));
  return bytes;
}

/** An element to take out of a set or to put into it. */
export interface ElementChange {
  readonly set: string;
  readonly key: Buffer;
  /** Absent for a plain set. */
  readonly value?: Buffer;
  readonly comment?: string;
  readonly put: boolean;
}

/** Returns the element that leads to the server's mode. */
export function leadOf({ server, key, mode, digest }: Standing): Omit<ElementChange, 'put'> {
  const place =
    server.kind === 'node' ? { set: 'nodes', key: key.subarray(key.length - 8) } : { set: 'servers', key };
  return { ...place, value: u32(mode), comment: digest };
}

/** Returns the elements of a server's source ranges. @param own the host's address of its family */
export function rangeElements(
  server: VirtualServer,
  key: Buffer,
  own: Uint8Array | undefined,
): readonly ElementChange[] {
  return rangeElementsOf(server, key, own).map(([set, element]) => ({
    set,
    ...element,
    key: Buffer.from(element.key),
    put: true,
  }));
}

/** Returns the changes from `before` to `after`. An element in both stays, with its counter. */
export function rangeChanges(
  before: readonly ElementChange[],
  after: readonly ElementChange[],
): ElementChange[] {
  if (before.length === 0 && after.length === 0) return [];
  const idOf = ({ set, key, value }: ElementChange): string =>
    `${set} ${key.toString('latin1')} ${value?.toString('latin1') ?? ''}`;
  const [was, is] = [new Set(before.map(idOf)), new Set(after.map(idOf))];
  return [
    ...after.filter((each) => !was.has(idOf(each))),
    ...before.filter((each) => !is.has(idOf(each))).map(({ set, key }) => ({ set, key, put: false })),
  ];
}

/**
 * Returns the element that leads from a server to the number under which its clients are remembered: a digest
 * of the server with which it shares them. Two that have the same number only lead each other's clients to
 * another slot.
 */
export function sharedElements({ server, key }: Pick<Standing, 'key' | 'server'>): readonly ElementChange[] {
  const { remembersAs, persistenceSeconds, family, protocol } = server;
  if (remembersAs === undefined || persistenceSeconds === undefined) return [];
  const value = hash('sha256', keyBytes({ ...remembersAs, family, protocol }), 'buffer').subarray(0, 4);
  return [{ set: sharedMap, key, value, put: true }];
}

/** Returns the changes from `before` to `after`. If one of them is absent, the server is new or goes. */
export function elementChanges(before: Standing | undefined, after: Standing | undefined): ElementChange[] {
  const changes: ElementChange[] = [];
  if (before?.server.remembersAs !== undefined || after?.server.remembersAs !== undefined)
    append(
      changes,
      rangeChanges(
        before === undefined ? [] : sharedElements(before),
        after === undefined ? [] : sharedElements(after),
      ),
    );
  const [was, is] = [before && leadOf(before), after && leadOf(after)];
  if (was?.set !== is?.set || before?.mode !== after?.mode || was?.comment !== is?.comment) {
    if (was !== undefined) changes.push({ ...was, put: false });
    if (is !== undefined) changes.push({ ...is, put: true });
  }
  slotChanges(before, after, changes);
  return changes;
}

function slotChanges(
  before: Standing | undefined,
  after: Standing | undefined,
  changes: ElementChange[],
): void {
  const [was, is] = [before?.plan, after?.plan];
  // Tables of different lengths in one map: the elements of slots that keep their owner stay.
  const same = was !== undefined && is !== undefined && slotMap(was.size) === slotMap(is.size);
  const values = new Map<string, Buffer>();
  const valueOf = (name: string): Buffer => {
    const known = values.get(name) ?? destinationBytes(name);
    values.set(name, known);
    return known;
  };
  const keyOf = (server: Buffer, slot: number): Buffer => {
    const key = Buffer.allocUnsafe(server.length + 4);
    server.copy(key);
    key.writeUInt32LE(slot, server.length);
    return key;
  };
  const [old, now] = [was?.slots ?? [], is?.slots ?? []];
  for (let slot = 0; slot < Math.max(old.length, now.length); slot += 1) {
    const [from, to] = [old[slot], now[slot]];
    if (same && from === to) continue;
    if (before !== undefined && was !== undefined && from !== undefined)
      changes.push({ set: slotMap(was.size), key: keyOf(before.key, slot), put: false });
    if (after !== undefined && is !== undefined && to !== undefined)
      changes.push({ set: slotMap(is.size), key: keyOf(after.key, slot), value: valueOf(to), put: true });
  }
}

/** Deletions come first: an element with another value is refused while the old one exists. */
export function elementRequests(table: Table, changes: readonly ElementChange[]): Request[] {
  const [gone, put] = [new Map<string, Element[]>(), new Map<string, Element[]>()];
  for (const change of changes) {
    const groups = change.put ? put : gone;
    const entries = groups.get(change.set);
    const { key, value, comment } = change;
    const element: Element =
      change.put && value !== undefined
        ? { key, value, ...(comment === undefined ? {} : { comment }) }
        : { key };
    if (entries === undefined) groups.set(change.set, [element]);
    else entries.push(element);
  }
  return [
    ...[...gone].flatMap(([set, entries]) => deleteElements(table, set, entries)),
    ...[...put].flatMap(([set, entries]) => addElements(table, set, entries)),
  ];
}
