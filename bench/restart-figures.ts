/** Times in ms, one for each restart. */
export interface RestartFigures {
  /** From SIGTERM to the end of the process. */
  readonly stop: number[];
  /** From the start of the process until all pods and containers are listed as they were. */
  readonly listed: number[];
  /** From the start of the process until a command ran in a pod that was there, and after that a new pod with a container runs. */
  readonly serving: number[];
}
