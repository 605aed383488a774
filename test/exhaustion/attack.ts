import type { Scene } from './scene.ts';

export interface Outcome {
  /** Figures of the attack itself. */
  readonly lines: readonly string[];
  /** Failures that the attack itself found, such as a message that was not refused. */
  readonly failures: readonly string[];
}

export interface Attack {
  readonly name: string;
  /** Resolves when the attack is in progress. `end` removes everything that it created. */
  start(scene: Scene): Promise<{ end(): Promise<Outcome> }>;
}

/** The sizes of the attacks; `npm test` uses the small ones. */
export interface Scale {
  readonly connections: number;
  readonly lineBytes: number;
  readonly mounts: number;
  readonly processes: number;
  readonly slowReaders: number;
}
