import { floodAttacks } from './attack-connections.ts';
import { containerAttacks } from './attack-containers.ts';
import { messageAttacks } from './attack-messages.ts';
import { readerAttacks } from './attack-readers.ts';
import type { Scene } from './scene.ts';

export interface Outcome {
  /** Figures of the attack itself. */
  readonly lines: readonly string[];
  /** What the attack found wrong itself, such as a message that was not refused. */
  readonly failures: readonly string[];
}

export interface Attack {
  readonly name: string;
  /** Resolves when the attack is under way. `end` removes everything that it made. */
  start(scene: Scene): Promise<{ end(): Promise<Outcome> }>;
}

/** How much; `npm test` takes the small one. */
export interface Scale {
  readonly connections: number;
  readonly lineBytes: number;
  readonly mounts: number;
  readonly processes: number;
  readonly slowReaders: number;
}

export const wholeScale: Scale = { connections: 5_000, lineBytes: 2 ** 30, mounts: 10_000, processes: 1_000, slowReaders: 60 };

export const attacks = (scale: Scale): readonly Attack[] => [
  ...containerAttacks(scale),
  ...readerAttacks(scale),
  ...floodAttacks(scale),
  ...messageAttacks(),
];
