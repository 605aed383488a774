import { generationOf } from '../../../base/netlink/index.ts';
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
  /** Whether another program may have changed our tables since. Cheap while nothing changes at all. */
  differs(all: Holdings): boolean;
}

export function createSeenState(filter: NetlinkSocket): SeenState {
  let seen = { generation: -1, shape: '' };
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
  return {
    remember(all) {
      seen = { generation: generationOf(filter), shape: shape(all) };
    },
    differs(all) {
      const now = generationOf(filter);
      if (now === seen.generation) return false;
      const found = shape(all);
      if (found !== seen.shape) return true;
      seen = { generation: now, shape: found };
      return false;
    },
  };
}
