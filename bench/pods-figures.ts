/** What one run of pods-driver.ts measured: times in ms, memory in bytes (PSS). */
export interface PodFigures {
  readonly samples: Readonly<Record<string, readonly number[]>>;
  /** The runtime's processes after the sequential part, without pods. */
  readonly idle: number;
  /** With 50 pods of one container each. */
  readonly withFifty: number;
  /** From the first of 100 requests sent at once until the last container runs. */
  readonly hundredUp: number;
  readonly hundredGone: number;
  /** From the first stop until no process, mount, cgroup or link of them is left. */
  readonly hundredSilent: number;
}
