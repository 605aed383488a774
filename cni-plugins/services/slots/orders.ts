import type { Weighted } from './sizes.ts';

/** Assigns slots to owners. */

/**
 * Returns the order of {@link inTurn} for destinations with one slot each, as nearly every server has.
 * Undefined: two of them have the same name.
 */
export function onceEach(all: readonly Pick<Weighted, 'name'>[]): string[] | undefined {
  const names = all.map(({ name }) => name);
  // Usually they are in this order already, and a sort makes copies.
  if (names.every((name, at) => at === 0 || (names[at - 1] ?? '') < name)) return names;
  names.sort((a, b) => (a < b ? -1 : 1));
  return names.some((name, at) => name === names[at + 1]) ? undefined : names;
}

/**
 * Returns the shares in an order in which each returns as evenly as possible: smooth weighted round robin, as
 * nginx balances upstreams. Used repeatedly from the first slot on, this order gives `rr` and `wrr`.
 */
export function inTurn(shares: ReadonlyMap<string, number>): string[] {
  const size = [...shares.values()].reduce((sum, share) => sum + share, 0);
  if (size === shares.size) return [...shares.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  // Those with the same share take turns by name. So a step only compares whose turn it is for each share,
  // and there are few: 45 different shares have a sum above 1024.
  const groups = [
    ...Map.groupBy(
      [...shares].toSorted(([a], [b]) => (a < b ? -1 : 1)),
      ([, share]) => share,
    ),
  ].map(([share, own]) => ({ share, names: own.map(([name]) => name), taken: 0 }));
  const slots: string[] = [];
  while (slots.length < size) {
    let best:
      | { readonly name: string; readonly credit: number; readonly group: { taken: number } }
      | undefined;
    for (const group of groups) {
      const { share, names, taken } = group;
      const name = names[taken % names.length] ?? '';
      // One share for each step, less a whole table for each turn before.
      const credit = (slots.length + 1) * share - Math.floor(taken / names.length) * size;
      if (best === undefined || credit > best.credit || (credit === best.credit && name < best.name))
        best = { name, credit, group };
    }
    if (best === undefined) return slots;
    best.group.taken += 1;
    slots.push(best.name);
  }
  return slots;
}

/**
 * Returns slots for clients that are assigned by a hash. An owner keeps its slots as far as its share allows,
 * so a change moves as few clients as possible. A table of another size is first stretched or sampled, as the
 * hash does (`hash * size >> 32`).
 */
export function keepingOwners(existing: readonly string[], shares: ReadonlyMap<string, number>): string[] {
  const size = [...shares.values()].reduce((sum, share) => sum + share, 0);
  const left = new Map(shares);
  const take = (name: string | undefined): boolean => {
    const share = name === undefined ? 0 : (left.get(name) ?? 0);
    if (name === undefined || share === 0) return false;
    left.set(name, share - 1);
    return true;
  };
  const slots = Array.from({ length: size }, (_, slot) => {
    const owner = existing[Math.floor((slot * existing.length) / size)];
    return take(owner) ? owner : undefined;
  });
  const rest = inTurn(new Map([...left].filter(([, share]) => share > 0))).values();
  return slots.map((owner) => owner ?? rest.next().value ?? '');
}
