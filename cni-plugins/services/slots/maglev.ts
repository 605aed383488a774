import { createHash } from 'node:crypto';
import { largest } from '../../../base/lists/index.ts';
import { mostSlots, usualSlots } from './sizes.ts';
import type { SlotSize, Weighted } from './sizes.ts';

/**
 * Size of Maglev's table for up to this many destinations. It is a prime, so that every step visits every
 * slot: the largest one below {@link usualSlots}. It is the same for all these numbers, so that clients stay
 * where they are when the number changes.
 */
export const maglevSlots = 251;
/** Size of Maglev's table for more destinations: the largest prime below {@link mostSlots}. */
export const mostMaglevSlots = 1021;

/** Returns the size of Maglev's table, and that of the map that has it. */
export const maglevSizesFor = (destinations: number): { readonly table: number; readonly map: SlotSize } =>
  destinations > maglevSlots
    ? { table: mostMaglevSlots, map: mostSlots }
    : { table: maglevSlots, map: usualSlots };

/** Returns the size of the table in a map of this size. */
export const maglevSlotsIn = (map: number): number => (map > usualSlots ? mostMaglevSlots : maglevSlots);

/**
 * Consistent hashing by a lookup table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
 * Balancer", NSDI 2016, section 3.4). Every destination prefers the slots in an order of its own (`offset`,
 * then steps of `skip`). The destinations take turns, and each takes the first free slot that it prefers. A
 * destination with less weight takes fewer turns. Two hosts with the same destinations have the same table.
 * @param all at most `size` destinations; their order does not matter
 */
export function maglevTable(all: readonly Weighted[], size: number = maglevSlots): string[] {
  const slots = Array.from({ length: size }, () => '');
  const heaviest = largest(all.map(({ weight }) => weight));
  const takers = all
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, weight }) => ({ name, weight, ...preference(name, size) }));
  for (let round = 1, taken = 0; taken < size; round += 1) {
    for (const taker of takers) {
      // A destination takes part in `weight` of `heaviest` rounds. All take part in the first round, so each
      // destination with a weight gets a slot.
      const turns =
        Math.ceil((round * taker.weight) / heaviest) - Math.ceil(((round - 1) * taker.weight) / heaviest);
      if (turns === 0 || taken === size) continue;
      while (slots[taker.next] !== '') taker.next = (taker.next + taker.skip) % size;
      slots[taker.next] = taker.name;
      taken += 1;
    }
  }
  return slots;
}

function preference(name: string, size: number): { next: number; readonly skip: number } {
  const digest = createHash('sha256').update(name).digest();
  return { next: digest.readUInt32BE(0) % size, skip: (digest.readUInt32BE(4) % (size - 1)) + 1 };
}
