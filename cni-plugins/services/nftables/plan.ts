import type { Refusal, VirtualServer } from '../model/model.ts';
import { insideWeightOf, isSplit } from '../model/planes.ts';
import type { PlaneServer } from '../model/planes.ts';
import { maglevSizesFor, maglevTable, mostMaglevSlots } from '../slots/maglev.ts';
import { inTurn, keepingOwners, onceEach } from '../slots/orders.ts';
import { mostSlots, sharesOf, sizeFor, slotSizes, turnSizeFor, usualSlots } from '../slots/sizes.ts';
import type { SlotSize, Weighted } from '../slots/sizes.ts';
import type { Mode } from './rules.ts';

/** Plans the slots and the mode of a virtual server. Pure. */

/** Returns the name of a destination: `192.0.2.1 80`. */
export const nameOf = ({ address, port }: { readonly address: string; readonly port: number }): string =>
  `${address} ${port}`;

/** A mode without the number of its counter, and the slots. */
export interface Plan extends Omit<Mode, 'draw'> {
  /** `turn`: with a counter of its own, while there is a free one. */
  readonly draw: Exclude<Mode['draw'], `turn${number}`> | 'turn';
  /** The name of a destination for each slot. Maglev has fewer than `size`. */
  readonly slots: readonly string[];
}

/** Returns why nf_tables cannot serve it, or undefined if it can. */
export function refusalOf({
  forwarding,
  scheduler,
  destinations,
  persistenceSeconds,
}: VirtualServer): Refusal | undefined {
  if (forwarding === 'dsr')
    return {
      field: 'forwarding',
      why: 'nf_tables translates addresses in both directions and cannot let a backend answer the client directly (dsr): use IPVS',
    };
  const most = scheduler === 'maglev' ? mostMaglevSlots : mostSlots;
  const weighted =
    destinations.length > most
      ? Math.max(
          destinations.filter(({ weight }) => weight > 0).length,
          destinations.filter((each) => insideWeightOf(each) > 0).length,
        )
      : destinations.length;
  if (weighted > most)
    return {
      field: 'backends',
      why: `nf_tables distributes connections over ${most} slots, and ${weighted} backends have a weight: use IPVS, which supports more`,
    };
  if (persistenceSeconds !== undefined && persistenceSeconds > longestHold)
    return { field: 'persistenceSeconds', why: `nf_tables remembers a client for at most ${longestHold} s` };
  return undefined;
}

/** The kernel keeps times as 64-bit milliseconds. This limit fits everywhere. */
const longestHold = 365 * 86_400;

/**
 * @param standing its previous slots: clients stay in them as far as possible
 * @param weights other weights by the destinations' names, for `lc`
 * @returns undefined: there is no destination for a connection
 */
export function planOf(
  server: PlaneServer,
  existing: readonly string[] = [],
  weights?: ReadonlyMap<string, number>,
): Plan | undefined {
  const all = server.destinations
    .filter(({ weight }) => weight > 0)
    .map((destination): Weighted => {
      const name = nameOf(destination);
      return { name, weight: weights?.get(name) ?? (server.scheduler === 'rr' ? 1 : destination.weight) };
    });
  if (all.length === 0) return undefined;
  const isShared = server.persistenceSeconds !== undefined && server.remembersAs !== undefined;
  const common = {
    at: server.kind === 'node' ? 'node' : 'address',
    ...(server.persistenceSeconds === undefined ? {} : { hold: server.persistenceSeconds }),
    masquerade: server.sourceAddress === 'masquerade',
    restricted: server.sourceRanges !== undefined,
    ...(isSplit(server) && { split: true as const }),
    ...(server.plane !== undefined && { inside: true as const }),
    ...(isShared && { shared: true as const }),
  } as const;
  if (server.scheduler === 'maglev') {
    const draw = server.clientAffinity ? 'maglevclient' : 'maglevclientport';
    const { table, map } = maglevSizesFor(all.length);
    return { ...common, size: map, draw, slots: maglevTable(all, table) };
  }
  // The weights of `lc` change each second, so an approximation is enough.
  const size = (): SlotSize =>
    weights === undefined
      ? sizeFor(all)
      : all.length <= 16
        ? 64
        : all.length <= usualSlots
          ? usualSlots
          : mostSlots;
  const hashes = server.clientAffinity || server.scheduler === 'sh';
  // A client is held to a slot number, so the number and its owner should change as little as possible.
  if (hashes || server.persistenceSeconds !== undefined) {
    // The table only grows: sampling its slots would move clients of backends that stay.
    const kept = slotSizes.find((each) => each >= Math.max(size(), existing.length)) ?? mostSlots;
    // A hash follows a table that is stretched. A client that is held to a number does not.
    const former = hashes ? existing : Array.from({ length: kept }, (_, slot) => existing[slot] ?? '');
    const slots = keepingOwners(existing.length === 0 ? [] : former, sharesOf(all, kept));
    return { ...common, size: kept, draw: hashes ? 'client' : 'turn', slots };
  }
  const drawn = weights === undefined ? turnSizeFor(all) : size();
  const slots = (drawn === all.length ? onceEach(all) : undefined) ?? inTurn(sharesOf(all, drawn));
  return { ...common, size: drawn, draw: 'turn', slots };
}
