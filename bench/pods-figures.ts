/** Measurements of one run of pods-driver.ts: times in ms, memory in bytes (PSS). */
export interface PodFigures {
  readonly samples: Readonly<Record<string, readonly number[]>>;
  /** Memory of the runtime's processes after the sequential part, without pods. */
  readonly idle: number;
  /** Memory with 50 pods of one container each. */
  readonly withFifty: number;
  /** Time from the first of 100 requests sent at once until the last container runs. */
  readonly hundredUp: number;
  readonly hundredGone: number;
  /** Time from the first stop until no process, mount, cgroup or link of them is left. */
  readonly hundredSilent: number;
}
