/** Times in ms, one per restart. */
export interface RestartFigures {
  /** Time from SIGTERM to the end of the process. */
  readonly stop: number[];
  /** Time from the start of the process until all pods and containers are listed as before. */
  readonly listed: number[];
  /**
   * Time from the start of the process until a command ran in an existing pod, and after that a new pod with
   * a container runs.
   */
  readonly serving: number[];
}
