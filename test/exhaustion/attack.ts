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
