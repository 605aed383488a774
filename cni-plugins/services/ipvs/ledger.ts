import type { Element } from '../../../base/netlink/index.ts';
import { addressBytes } from './plan.ts';
import type { IpvsPlane } from './plan.ts';
import { elementsOf } from './tables.ts';
import type { Elements, TableFamily } from './tables.ts';

/** The elements and addresses that a change of virtual servers adds and removes, by family. */
export interface LedgerStep {
  /** The previous elements of those in `add` that exist with another value. Both go in one transaction. */
  readonly replaced: ReadonlyMap<TableFamily, Elements>;
  readonly add: ReadonlyMap<TableFamily, Elements>;
  readonly take: ReadonlyMap<TableFamily, Elements>;
  readonly newAddresses: readonly Buffer[];
  readonly oldAddresses: readonly Buffer[];
}

/**
 * Tracks which virtual servers need which elements and addresses. Several ports may share an address, and the
 * address goes with the last of them. Pure except for its own state.
 */
export interface Ledger {
  /**
   * Replaces some servers by others. An element that both have stays.
   * @param own the current addresses of the host, if they changed and with them the elements of all
   * restricted servers; absent: unchanged
   */
  change(gone: readonly IpvsPlane[], come: readonly IpvsPlane[], own?: HostAddresses): LedgerStep;
  /** Returns the addresses last passed to {@link elementsOf}. */
  own(): HostAddresses;
  /** Returns all current elements. */
  elements(family: TableFamily): Elements;
  addresses(): Buffer[];
}

/** The host's source address towards others, by family. */
export type HostAddresses = Readonly<Record<4 | 6, Uint8Array | undefined>>;

const familyOf = (server: IpvsPlane): TableFamily => (server.family === 4 ? 'ip' : 'ip6');

function ownElements(server: IpvsPlane, own: HostAddresses): (readonly [string, Element])[] {
  if (server.address === undefined) return elementsOf(server);
  return [['addresses', { key: addressBytes(server.address) }], ...elementsOf(server, own[server.family])];
}

const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

/**
 * `FAMILY SET KEY VALUE`, with key and value as hexadecimal digits. There are thousands of entries, and text
 * takes a tenth of the memory of objects.
 */
type Entry = string;

const entryOf = (family: TableFamily, set: string, { key, value }: Element): Entry =>
  `${family} ${set} ${hex(key)} ${value instanceof Uint8Array ? hex(value) : ''}`;
const placeOf = (entry: Entry): string => entry.slice(0, entry.lastIndexOf(' '));

function group(entries: Iterable<Entry>): Map<TableFamily, Map<string, Element[]>> {
  const grouped = new Map<TableFamily, Map<string, Element[]>>();
  for (const entry of entries) {
    const [family, set = '', key = '', value = ''] = entry.split(' ') as [TableFamily, ...string[]];
    const element = {
      key: Buffer.from(key, 'hex'),
      ...(value !== '' && { value: Buffer.from(value, 'hex') }),
    };
    const sets = grouped.get(family) ?? new Map<string, Element[]>();
    grouped.set(family, sets);
    const list = sets.get(set);
    if (list === undefined) sets.set(set, [element]);
    else list.push(element);
  }
  return grouped;
}

const addressesIn = (entries: Iterable<Entry>): Buffer[] =>
  [...entries].flatMap((entry) => {
    const [, set, key = ''] = entry.split(' ');
    return set === 'addresses' ? [Buffer.from(key, 'hex')] : [];
  });

export function openLedger(first: HostAddresses): Ledger {
  let addresses = first;
  /** How many servers need each entry. */
  const uses = new Map<Entry, number>();

  const count = (
    servers: readonly IpvsPlane[],
    own: HostAddresses,
    by: 1 | -1,
    touched: Map<Entry, boolean>,
  ): void => {
    for (const server of servers)
      for (const [set, element] of ownElements(server, own)) {
        const entry = entryOf(familyOf(server), set, element);
        const before = uses.get(entry) ?? 0;
        if (!touched.has(entry)) touched.set(entry, before > 0);
        uses.set(entry, before + by);
      }
  };

  return {
    own: () => addresses,
    change(gone, come, own = addresses) {
      const touched = new Map<Entry, boolean>();
      count(come, own, 1, touched);
      count(gone, addresses, -1, touched);
      addresses = own;
      const added: Entry[] = [];
      const taken: Entry[] = [];
      for (const [entry, stood] of touched) {
        const exists = (uses.get(entry) ?? 0) > 0;
        if (!exists) uses.delete(entry);
        if (exists && !stood) added.push(entry);
        if (!exists && stood) taken.push(entry);
      }
      const places = new Set(added.map(placeOf));
      const rest = taken.filter((entry) => !places.has(placeOf(entry)));
      return {
        replaced: group(taken.filter((entry) => places.has(placeOf(entry)))),
        add: group(added),
        take: group(rest),
        newAddresses: addressesIn(added),
        oldAddresses: addressesIn(rest),
      };
    },
    elements: (family) => group(uses.keys()).get(family) ?? new Map<string, Element[]>(),
    addresses: () => addressesIn(uses.keys()),
  };
}
