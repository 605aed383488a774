/**
 * Weights of `lc` for a balancer that draws: they bring the destinations to equal load as soon as possible.
 */

export interface Load {
  readonly name: string;
  /** Positive. */
  readonly weight: number;
  /** Established connections. */
  readonly active: number;
}

/**
 * New connections expected within a second: a fraction of the established ones, and a minimum for each
 * destination.
 */
const expected = { ofActive: 0.1, each: 4 } as const;

/**
 * Returns the shares of the next connections that bring all destinations to the same number of connections
 * per weight. This is like water that fills vessels, each of which holds `active` already. A destination
 * above the level gets the smallest share (1 of 1,000), not none.
 */
export function towardsLeast(loads: readonly Load[]): { readonly name: string; readonly weight: number }[] {
  const active = loads.reduce((sum, load) => sum + load.active, 0);
  const coming = Math.max(expected.ofActive * active, expected.each * loads.length);
  const level = levelFor(loads, coming);
  return loads.map(({ name, weight, active: has }) => ({
    name,
    weight: Math.max(1, Math.round((1000 * (level * weight - has)) / coming)),
  }));
}

/**
 * Returns the connections per unit of weight after `coming` more went to the destinations with the fewest.
 */
function levelFor(loads: readonly Load[], coming: number): number {
  const sorted = loads.toSorted((a, b) => a.active / a.weight - b.active / b.weight);
  let weight = 0;
  let held = 0;
  let level = 0;
  for (const [index, load] of sorted.entries()) {
    weight += load.weight;
    held += load.active;
    level = (coming + held) / weight;
    const next = sorted[index + 1];
    if (next === undefined || level <= next.active / next.weight) break;
  }
  return level;
}
