import type { DatabaseSync } from 'node:sqlite';
import type { ImagesWorld } from './images/images-node.ts';
import type { World } from './world.ts';

/** Sees a world before anything happens in it: for traces (test/specification/simulated.ts). */
export interface Watch {
  readonly pods?: (world: World) => void;
  readonly images?: (world: ImagesWorld) => void;
}

/** Follows what a simulated database keeps. */
export interface DatabaseFollower {
  /** A database without rows: the first one, and one that is filled again with what a loss of power left. */
  readonly begins: (db: DatabaseSync) => void;
  /** A transaction was committed. */
  readonly committed: (db: DatabaseSync) => void;
  /** The power was lost, and this is what the database kept. */
  readonly restored: (db: DatabaseSync) => void;
}
