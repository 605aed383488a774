import type { Element } from '../../netlink/nftables.ts';
import type { VirtualServer } from '../model.ts';
import { addressBytes } from './plan.ts';
import { elementsOf } from './tables.ts';
import type { Elements, TableFamily } from './tables.ts';

/** What comes and goes when virtual servers do, by family. */
export interface LedgerStep {
  readonly add: ReadonlyMap<TableFamily, Elements>;
  readonly take: ReadonlyMap<TableFamily, Elements>;
  readonly newAddresses: readonly Buffer[];
  readonly oldAddresses: readonly Buffer[];
}

/**
 * Which elements and addresses stand because of which virtual servers: an address serves several ports, and goes with the last of them. Pure but for
 * what it remembers.
 */
export interface Ledger {
  /** Some servers in place of others; an element that both have does not move. */
  change(gone: readonly VirtualServer[], come: readonly VirtualServer[]): LedgerStep;
  /** All that stands now. */
  elements(family: TableFamily): Elements;
  addresses(): Buffer[];
}

interface Entry {
  readonly family: TableFamily;
  readonly set: string;
  readonly element: Element;
  uses: number;
}

const familyOf = (server: VirtualServer): TableFamily => (server.family === 4 ? 'ip' : 'ip6');

function ownElements(server: VirtualServer): (readonly [string, Element])[] {
  if (server.address === undefined) return elementsOf(server);
  return [['addresses', { key: addressBytes(server.address) }], ...elementsOf(server)];
}

export function openLedger(): Ledger {
  const entries = new Map<string, Entry>();

  const group = (found: readonly Entry[]): Map<TableFamily, Map<string, Element[]>> => {
    const grouped = new Map<TableFamily, Map<string, Element[]>>();
    for (const { family, set, element } of found) {
      const sets = grouped.get(family) ?? new Map<string, Element[]>();
      grouped.set(family, sets);
      const list = sets.get(set);
      if (list === undefined) sets.set(set, [element]);
      else list.push(element);
    }
    return grouped;
  };
  const addressesIn = (found: Iterable<Entry>): Buffer[] =>
    [...found].filter(({ set }) => set === 'addresses').map(({ element }) => Buffer.from(element.key));

  const count = (servers: readonly VirtualServer[], by: 1 | -1, touched: Map<string, boolean>): void => {
    for (const server of servers)
      for (const [set, element] of ownElements(server)) {
        const family = familyOf(server);
        const id = `${family} ${set} ${Buffer.from(element.key).toString('hex')}`;
        const entry = entries.get(id) ?? { family, set, element, uses: 0 };
        if (!touched.has(id)) touched.set(id, entry.uses > 0);
        entry.uses += by;
        entries.set(id, entry);
      }
  };

  return {
    change(gone, come) {
      const touched = new Map<string, boolean>();
      count(come, 1, touched);
      count(gone, -1, touched);
      const added: Entry[] = [];
      const taken: Entry[] = [];
      for (const [id, stood] of touched) {
        const entry = entries.get(id);
        if (entry === undefined) continue;
        if (entry.uses > 0 && !stood) added.push(entry);
        if (entry.uses <= 0) {
          entries.delete(id);
          if (stood) taken.push(entry);
        }
      }
      return { add: group(added), take: group(taken), newAddresses: addressesIn(added), oldAddresses: addressesIn(taken) };
    },
    elements: (family) => group([...entries.values()]).get(family) ?? new Map<string, Element[]>(),
    addresses: () => addressesIn(entries.values()),
  };
}
