import { changesBy, generationOf } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import type { Family } from '../model/model.ts';
import { shapeOf } from './readout.ts';
import type { TableContent } from './table-content.ts';

export const families: readonly Family[] = [4, 6];
export type Holdings = Readonly<Record<Family, TableContent>>;

/**
 * The shape of our tables as it was seen last, and the generation of nf_tables at that time. Each change by
 * any program increases the generation.
 */
export interface SeenState {
  remember(all: Holdings): void;
  /**
   * Called before our own change, so that earlier changes by another program are still noticed after it.
   * @returns whether another program may have changed our tables
   */
  before(all: Holdings): boolean;
  /** Called after our own change that made or dropped chains. */
  reshaped(all: Holdings): void;
  /** Whether another program may have changed our tables since. Cheap while nothing changes at all. */
  differs(all: Holdings): boolean;
}

/**
 * A change follows a look at once. The kernel is not asked again for it: what another program changes between
 * the two is noticed by the next look, as what it changes after both.
 */
const sameMomentMs = 1;

/** Differs from every shape. */
const unknown = '';
/** A table or a chain that should exist does not. */
const lacksPart = /\bnone\b/u;

export function createSeenState(filter: NetlinkSocket): SeenState {
  let seen = { generation: -1, own: 0, shape: unknown };
  const shape = (all: Holdings): string =>
    families
      .map((family) =>
        shapeOf(
          filter,
          family,
          all[family].modes.all().map(([, mode]) => mode),
        ),
      )
      .join('; ');
  /** Each of our transactions is one generation. If there is no other, nobody else changed anything. */
  const isOurs = (generation: number): boolean =>
    generation === seen.generation + changesBy(filter) - seen.own;
  const remember = (all: Holdings): void => {
    const [generation, own, found] = [generationOf(filter), changesBy(filter), shape(all)];
    // A repair takes long enough for another program to remove what was just made.
    seen = { generation, own, shape: lacksPart.test(found) ? unknown : found };
  };
  /** When nothing differed last, and after how many of our changes. */
  let same = { at: -Infinity, own: -1 };
  const differs = (all: Holdings): boolean => {
    const generation = generationOf(filter);
    if (isOurs(generation)) {
      if (seen.shape === unknown) return true;
      same = { at: performance.now(), own: changesBy(filter) };
      return false;
    }
    const own = changesBy(filter);
    const found = shape(all);
    if (found !== seen.shape) return true;
    seen = { generation, own, shape: found };
    return false;
  };
  return {
    remember,
    before(all) {
      if (performance.now() - same.at < sameMomentMs && same.own === changesBy(filter)) return false;
      const differ = differs(all);
      if (differ) seen.shape = unknown;
      return differ;
    },
    reshaped(all) {
      if (seen.shape !== unknown && isOurs(generationOf(filter))) remember(all);
      else seen.shape = unknown;
    },
    differs,
  };
}
