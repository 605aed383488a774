import {
  isRefusal,
  readListedElements,
  getTable,
  listElements,
  transact,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { ListedElement, NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import { readDenied } from '../source-ranges/denied.ts';
import type { OwnAddresses } from '../source-ranges/own-address.ts';
import { insideChanges, insideElements, insideSourcesSet } from '../source-ranges/inside-sources.ts';
import { restrictedMap } from '../source-ranges/rules.ts';
import { readBackends } from '../unknown-segments/backends.ts';
import { insideIdOf } from './inside-marks.ts';
import { openLedger } from './ledger.ts';
import type { HostAddresses, LedgerStep } from './ledger.ts';
import type { ServiceLink } from './link.ts';
import type { IpvsPlane } from './plan.ts';
import {
  addTo,
  hiddenElements,
  insideSets,
  linkElements,
  rebuild,
  removeTable,
  tableFamilies,
  tableOf,
  takeFrom,
} from './tables.ts';
import type { Elements, TableFamily } from './tables.ts';

/** The tables beside IPVS in this namespace, with the elements that the virtual servers need. */
export interface KernelTables {
  /** Whether the tables exist, with any elements. */
  stand(): boolean;
  /** Starts with no virtual server again. The kernel is not touched. */
  reset(): void;
  /** Computes what a change of virtual servers adds and removes. The kernel is not touched. */
  step(gone: readonly IpvsPlane[], come: readonly IpvsPlane[]): LedgerStep;
  /** Returns the addresses of all virtual servers. */
  addresses(): Buffer[];
  /**
   * Replaces any existing tables by those of all virtual servers. Counts of denied packets and remembered
   * backends go on.
   * @param insides the sources of connections from inside
   */
  rebuild(insides: Iterable<string>): void;
  /** Returns the marks of inside planes in the kernel, by {@link insideIdOf}. */
  insideMarks(): ReadonlyMap<string, number>;
  /** Programs the sources of connections from inside, if they differ. */
  setInsides(insides: Iterable<string>): void;
  /** Programs what a step adds. Call it before the link has the new addresses. */
  add(step: LedgerStep): void;
  /** Removes what a step takes. Call it when nothing serves the old addresses any more. */
  take(step: LedgerStep): void;
  /**
   * Recomputes whether the host itself may connect, if its addresses changed.
   * @param restricted returns the virtual servers with source ranges
   */
  relocate(restricted: () => readonly IpvsPlane[]): void;
  /** Programs which links came and went. */
  followLinks(): void;
  /** Lets every client connect to the virtual servers, whatever their source ranges. */
  letEverybodyIn(): void;
  /** Removes the tables from the kernel. */
  remove(): void;
}

export interface KernelTablesDeps {
  readonly own: Pick<OwnAddresses, 'of'>;
  readonly link: Pick<ServiceLink, 'elsewhere' | 'isOfHost' | 'onLink'>;
  readonly netfilter: NetlinkSocket;
}

const hexOf = (bytes: Uint8Array | undefined): string =>
  bytes === undefined ? '' : Buffer.from(bytes).toString('hex');

const take = (elements: ReadonlyMap<TableFamily, Elements>): Request[] =>
  [...elements].flatMap(([family, each]) => takeFrom(family, each));
const add = (elements: ReadonlyMap<TableFamily, Elements>): Request[] =>
  [...elements].flatMap(([family, each]) => addTo(family, each));

const numberOf = (family: TableFamily): 4 | 6 => (family === 'ip' ? 4 : 6);
const distinct = (sources: Iterable<string>): readonly string[] => [...new Set(sources)].toSorted();

/** Tables of an earlier run stay in force until `rebuild`. */
export function openKernelTables({ own, link, netfilter }: KernelTablesDeps): KernelTables {
  let ledger = openLedger(ownNow());
  let links: readonly number[] = [];
  /**
   * Addresses of servers that the host also has on other links, as hexadecimal digits. Each `rebuild` looks
   * for them again.
   */
  let ofHost = new Set<string>();
  let insides: readonly string[] = [];

  function ownNow(): HostAddresses {
    return { 4: own.of(4), 6: own.of(6) };
  }

  return {
    stand: () =>
      tableFamilies.every((family) => netfilter.find(getTable(tableOf(family)), 'ENOENT') !== undefined),
    reset() {
      ledger = openLedger(ownNow());
    },
    step: (gone, come) => ledger.change(gone, come),
    addresses: () => ledger.addresses(),
    rebuild(sources) {
      insides = distinct(sources);
      links = link.onLink();
      const elsewhere = link.elsewhere();
      const all = ledger.addresses().map(hexOf);
      ofHost = new Set(all.filter((hex) => elsewhere.has(hex)));
      const requests = tableFamilies.flatMap((family) =>
        rebuild(
          family,
          new Map([
            ...ledger.elements(family),
            ['links', linkElements(links)],
            [insideSourcesSet, insideElements(insides, numberOf(family))],
            ...hiddenElementsOf(
              family,
              all.filter((hex) => !ofHost.has(hex)),
            ),
          ]),
          ifPresent(() => readDenied(netfilter, tableOf(family))),
          ifPresent(() => readBackends(netfilter, tableOf(family))),
        ),
      );
      transact(netfilter, requests);
    },
    insideMarks: () => new Map(tableFamilies.flatMap((family) => marksIn(netfilter, family))),
    setInsides(sources) {
      const before = insides;
      insides = distinct(sources);
      if (insides.join() === before.join()) return;
      const requests = tableFamilies.flatMap((family) =>
        insideChanges(
          tableOf(family),
          insideElements(before, numberOf(family)),
          insideElements(insides, numberOf(family)),
        ),
      );
      transact(netfilter, requests);
    },
    add(step) {
      const isOfHost = Map.groupBy(step.newAddresses, (address) => link.isOfHost(address));
      const hidden = (isOfHost.get(false) ?? []).map(hexOf);
      transact(netfilter, [
        ...take(step.replaced),
        ...tableFamilies.flatMap((family) => addTo(family, hiddenElementsOf(family, hidden))),
        ...add(step.add),
      ]);
      for (const address of isOfHost.get(true) ?? []) ofHost.add(hexOf(address));
    },
    take(step) {
      const gone = step.oldAddresses.map(hexOf);
      const hidden = gone.filter((hex) => !ofHost.has(hex));
      transact(netfilter, [
        ...take(step.take),
        ...tableFamilies.flatMap((family) => takeFrom(family, hiddenElementsOf(family, hidden))),
      ]);
      for (const hex of gone) ofHost.delete(hex);
    },
    relocate(restricted) {
      const [now, before] = [ownNow(), ledger.own()];
      if (([4, 6] as const).every((family) => hexOf(now[family]) === hexOf(before[family]))) return;
      const servers = restricted();
      const step = ledger.change(servers, servers, now);
      transact(netfilter, [...take(step.replaced), ...add(step.add), ...take(step.take)]);
    },
    followLinks() {
      const now = link.onLink();
      const come = now.filter((index) => !links.includes(index));
      const gone = links.filter((index) => !now.includes(index));
      if (come.length === 0 && gone.length === 0) return;
      transact(
        netfilter,
        tableFamilies.flatMap((family) => [
          ...takeFrom(family, new Map([['links', linkElements(gone)]])),
          ...addTo(family, new Map([['links', linkElements(come)]])),
        ]),
      );
      links = now;
    },
    letEverybodyIn: () =>
      transact(
        netfilter,
        tableFamilies.flatMap((family) => noRestrictions(netfilter, family)),
      ),
    remove: () => transact(netfilter, tableFamilies.flatMap(removeTable)),
  };
}

function hiddenElementsOf(family: TableFamily, addresses: readonly string[]): Elements {
  const bytes = addresses
    .map((hex) => Buffer.from(hex, 'hex'))
    .filter(({ length }) => (length === 4) === (family === 'ip'));
  return new Map(bytes.length === 0 ? [] : [['hidden', hiddenElements(bytes)]]);
}

/** Returns the marks of inside planes of one family, by {@link insideIdOf}. */
function marksIn(netfilter: NetlinkSocket, family: TableFamily): (readonly [id: string, mark: number])[] {
  const list = (set: string): ListedElement[] =>
    ifPresent(() => netfilter.dump(listElements(tableOf(family), set)).flatMap(readListedElements)) ?? [];
  return insideSets
    .flatMap(list)
    .map(({ key, value }) => [insideIdOf(numberOf(family), key), value?.readUInt32LE(0) ?? 0]);
}

/** Reads from the tables of this process or of an earlier one. */
function ifPresent<T>(read: () => T): T | undefined {
  // There is no table, or the table is from a version that did not have the set.
  return tolerating(['ENOENT'], () => read());
}

function noRestrictions(netfilter: NetlinkSocket, family: TableFamily): Request[] {
  try {
    const existing = netfilter.dump(listElements(tableOf(family), restrictedMap)).flatMap(readListedElements);
    return takeFrom(family, new Map([[restrictedMap, existing]]));
  } catch (thrown) {
    // The table is from a version that did not have source ranges.
    if (isRefusal(thrown, 'ENOENT')) return [];
    throw thrown;
  }
}
