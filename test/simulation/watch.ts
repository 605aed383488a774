import type { ImagesWorld } from './images/images-node.ts';
import type { World } from './pods/world.ts';

/** Observes a world before anything happens in it: for traces (test/specification/simulated.ts). */
export interface Watch {
  readonly pods?: (world: World) => void;
  readonly images?: (world: ImagesWorld) => void;
}
