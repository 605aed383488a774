import { hostPathsBy } from './host-paths.ts';
import { lookUps } from './look-ups.ts';

/** The same look-ups in this process, for tests. */
export const hostPathsHere = hostPathsBy(async (_path, call, ...values) =>
  (lookUps[call] as (...all: readonly unknown[]) => never)(...values),
);
