import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { towardsLeast } from './least-connections.ts';
import { maglevSizesFor, maglevSlots, maglevTable, mostMaglevSlots } from './maglev.ts';
import { inTurn, keepingOwners, onceEach } from './orders.ts';
import { errorOf, mostSlots, sharesOf, sizeFor, slotSizes, turnSizeFor, usualSlots } from './sizes.ts';
import type { Weighted } from './sizes.ts';

const seed = {
  seed: Number(process.env['FUZZ_SEED'] ?? 10),
  numRuns: 200 * Number(process.env['FUZZ_TIMES'] ?? 1),
};
const named = (weights: readonly number[]): Weighted[] =>
  weights.map((weight, index) => ({ name: `10.0.0.${index} 80`, weight }));
const weighted = (most: number, heaviest: number): fc.Arbitrary<Weighted[]> =>
  fc.array(fc.integer({ min: 1, max: heaviest }), { minLength: 1, maxLength: most }).map(named);
const countsOf = (slots: readonly string[]): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const name of slots) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
};

test('the chosen size is the smallest that meets the weights within 5 %', () => {
  const table: readonly (readonly [weights: readonly number[], size: number])[] = [
    [[1], 16],
    [[1, 1], 16],
    [[8, 4, 4], 16],
    [[1, 1, 1], 64],
    [[1, 1, 1, 1, 1], 256],
    [[1, 1, 1, 1, 1, 1, 1], 256],
    [[100, 1], 256],
    [Array.from({ length: 16 }, () => 3), 16],
    [Array.from({ length: 256 }, () => 1), 256],
    [[1000, 1], 256],
    [Array.from({ length: 257 }, () => 1), 1024],
    [Array.from({ length: 1024 }, () => 1), 1024],
  ];
  for (const [weights, size] of table) assert.equal(sizeFor(named(weights)), size, String(weights));
});

test('slots that are used in turn are as few as meet the weights exactly, up to 64, or up to 1024 for many destinations', () => {
  const table: readonly (readonly [weights: readonly number[], size: number])[] = [
    [[1], 1],
    [[7], 1],
    [[1, 1, 1], 3],
    [[8, 4, 4], 4],
    [[6, 4], 5],
    [Array.from({ length: 64 }, () => 9), 64],
    [[63, 1], 64],
    [[64, 1], 64],
    [Array.from({ length: 65 }, () => 1), 256],
    [Array.from({ length: 257 }, () => 3), 257],
    [Array.from({ length: 700 }, () => 1), 700],
    [Array.from({ length: 1024 }, () => 1), 1024],
    [[...Array.from({ length: 300 }, () => 1), 100], 400],
    [[...Array.from({ length: 300 }, () => 1), 1000], 1024],
  ];
  for (const [weights, size] of table) {
    assert.equal(turnSizeFor(named(weights)), size, String(weights));
    const shares = sharesOf(named(weights), size);
    if (weights[0] !== 64 && size <= 64) assert.equal(errorOf(named(weights), shares), 0, String(weights));
  }
});

test('shares: all slots are assigned, each destination has at least one, and no share is a whole slot away from its exact value', () => {
  fc.assert(
    fc.property(weighted(16, 65535), fc.constantFrom(...slotSizes), (all, size) => {
      const shares = sharesOf(all, size);
      assert.equal(
        [...shares.values()].reduce((a, b) => a + b, 0),
        size,
      );
      assert.ok([...shares.values()].every((share) => share >= 1));
      const total = all.reduce((sum, { weight }) => sum + weight, 0);
      if (all.every(({ weight }) => (size * weight) / total >= 1))
        for (const { name, weight } of all)
          assert.ok(Math.abs((shares.get(name) ?? 0) - (size * weight) / total) < 1, name);
    }),
    seed,
  );
});

test('a size below the largest is within 5 %', () => {
  fc.assert(
    fc.property(weighted(mostSlots, 100), (all) => {
      const size = sizeFor(all);
      assert.ok(all.length <= size);
      if (size < usualSlots) assert.ok(errorOf(all, sharesOf(all, size)) <= 0.05);
    }),
    seed,
  );
});

test('in turn: after any number of connections, no destination exceeds its exact share by two', () => {
  fc.assert(
    fc.property(weighted(12, 20), (all) => {
      const shares = sharesOf(all, 64);
      const slots = inTurn(shares);
      const had = new Map<string, number>();
      for (const [index, name] of slots.entries()) {
        had.set(name, (had.get(name) ?? 0) + 1);
        for (const [other, share] of shares)
          assert.ok(Math.abs((had.get(other) ?? 0) - ((index + 1) * share) / 64) < 2);
      }
      assert.deepEqual(
        countsOf(slots),
        new Map([...countsOf(slots).keys()].map((name) => [name, shares.get(name)])),
      );
    }),
    seed,
  );
});

test('owners keep their slots: only slots of a lost destination move, and a new destination takes no more than its share', () => {
  fc.assert(
    fc.property(weighted(12, 5), fc.nat(), (all, pick) => {
      const before = keepingOwners([], sharesOf(all, 64));
      assert.deepEqual(countsOf(before), new Map(sharesOf(all, 64)));
      const more = [...all, { name: '10.0.1.1 80', weight: 3 }];
      const grown = keepingOwners(before, sharesOf(more, 64));
      const moved = grown.filter((name, slot) => name !== before[slot]);
      // A destination that keeps its rank in the remainders loses exactly what the new one takes. Rounding
      // may move one slot each.
      assert.ok(moved.length <= (sharesOf(more, 64).get('10.0.1.1 80') ?? 0) + all.length);
      if (all.length < 2) return;
      const lost = all[pick % all.length]?.name ?? '';
      const shrunk = keepingOwners(
        before,
        sharesOf(
          all.filter(({ name }) => name !== lost),
          64,
        ),
      );
      for (const [slot, name] of before.entries())
        if (name !== lost && shrunk[slot] !== name)
          assert.ok((countsOf(before).get(name) ?? 0) > (countsOf(shrunk).get(name) ?? 0));
    }),
    seed,
  );
});

test('a table that grows keeps every client whose owner has room', () => {
  const before = keepingOwners([], sharesOf(named([1, 1]), 16));
  const after = keepingOwners(before, sharesOf(named([1, 1]), 64));
  for (let slot = 0; slot < 64; slot += 1) assert.equal(after[slot], before[Math.floor(slot / 4)]);
});

test('maglev: the table is full, follows the weights, does not depend on the order, and changes little when one is lost', () => {
  fc.assert(
    fc.property(weighted(12, 10), fc.nat(), (all, pick) => {
      const table = maglevTable(all);
      assert.equal(table.length, maglevSlots);
      assert.deepEqual(maglevTable(all.toReversed()), table);
      const total = all.reduce((sum, { weight }) => sum + weight, 0);
      const counts = countsOf(table);
      for (const { name, weight } of all)
        assert.ok(Math.abs((counts.get(name) ?? 0) - (maglevSlots * weight) / total) <= 2, name);
      if (all.length < 2) return;
      const lost = all[pick % all.length];
      const after = maglevTable(all.filter((each) => each !== lost));
      const needless = table.filter((name, slot) => name !== lost?.name && after[slot] !== name);
      assert.ok(needless.length <= maglevSlots / 3, `${needless.length}`);
    }),
    seed,
  );
});

test('maglev: more than 251 destinations have a larger table, in which each has a slot', () => {
  assert.deepEqual(maglevSizesFor(251), { table: maglevSlots, map: usualSlots });
  assert.deepEqual(maglevSizesFor(252), { table: mostMaglevSlots, map: mostSlots });
  for (const count of [251, 252, 700, mostMaglevSlots]) {
    const all = Array.from({ length: count }, (_, index) => ({
      name: `10.0.${index >> 8}.${index & 255} 80`,
      weight: 1,
    }));
    const counts = countsOf(maglevTable(all, maglevSizesFor(count).table));
    assert.equal(counts.size, count);
    assert.ok(Math.max(...counts.values()) - Math.min(...counts.values()) <= 1);
  }
});

test('maglev: losing one of ten destinations moves few clients of the others', () => {
  const all = named(Array.from({ length: 10 }, () => 1));
  const table = maglevTable(all);
  const moved = all.map((lost) => {
    const after = maglevTable(all.filter((each) => each !== lost));
    return table.filter((name, slot) => name !== lost.name && after[slot] !== name).length;
  });
  assert.ok(Math.max(...moved) <= maglevSlots * 0.2, String(moved));
});

test('lc: the destination with the fewest connections gets the most new connections, until all have the same number per weight', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ weight: fc.integer({ min: 1, max: 10 }), active: fc.nat(500) }), {
        minLength: 2,
        maxLength: 10,
      }),
      (given) => {
        let loads = given.map((load, index) => ({ ...load, name: `${index}` }));
        const apart = (): number => {
          const levels = loads.map(({ active, weight }) => active / weight);
          return Math.max(...levels) - Math.min(...levels);
        };
        const first = apart();
        for (let second = 0; second < 200; second += 1) {
          const shares = towardsLeast(loads);
          const total = shares.reduce((sum, { weight }) => sum + weight, 0);
          const coming = Math.max(20, 0.05 * loads.reduce((sum, { active }) => sum + active, 0));
          loads = loads.map((load, index) => ({
            ...load,
            active: load.active * 0.95 + (coming * (shares[index]?.weight ?? 0)) / total,
          }));
        }
        assert.ok(apart() <= Math.max(6, first / 2), `${first} → ${apart()}`);
      },
    ),
    seed,
  );
});

test('destinations with one slot each have the order of inTurn', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string(), { minLength: 1 }), (names) => {
      const all = names.map((name) => ({ name, weight: 1 }));
      assert.deepEqual(onceEach(all), inTurn(sharesOf(all, all.length)));
    }),
    seed,
  );
});

test('destinations of one name are not ordered as if each had a slot', () => {
  assert.equal(onceEach([{ name: 'b' }, { name: 'a' }, { name: 'b' }]), undefined);
});

test('slots in turn are those of smooth weighted round robin, one step at a time', () => {
  const stepByStep = (shares: ReadonlyMap<string, number>): string[] => {
    const size = [...shares.values()].reduce((sum, share) => sum + share, 0);
    const all = [...shares]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, share]) => ({ name, share, credit: 0 }));
    return Array.from({ length: size }, () => {
      for (const each of all) each.credit += each.share;
      const best = all.reduce((a, b) => (b.credit > a.credit ? b : a));
      best.credit -= size;
      return best.name;
    });
  };
  fc.assert(
    fc.property(weighted(24, 9), (all) => {
      const shares = new Map(all.map(({ name, weight }) => [name, weight]));
      assert.deepEqual(inTurn(shares), stepByStep(shares));
    }),
    seed,
  );
});
