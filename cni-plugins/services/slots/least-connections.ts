/** Weights of `lc` for a balancer that draws: what brings the fewest connections to be equal, soonest. */

export interface Load {
  readonly name: string;
  /** Positive. */
  readonly weight: number;
  /** Connections that stand. */
  readonly active: number;
}

/** New connections that a second's weights are made for, as a part of those that stand, and for each destination at least. */
const expected = { ofActive: 0.1, each: 4 } as const;

/**
 * Shares of the next connections by which all destinations come to the same connections for their weight: water filled into vessels of which
 * each holds `active` already. Whoever holds more than the level gets the least share (1 of 1,000), not none.
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

/** The connections for each unit of weight, when `coming` more went to whoever has fewest. */
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
