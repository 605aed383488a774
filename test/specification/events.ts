import { readFileSync, writeFileSync } from 'node:fs';

/** One change of state in a run: a durable write of a record, or an event of the machine. */
export interface TraceEvent {
  /** Orders events of two databases: milliseconds, or any count that grows. */
  readonly at: number;
  readonly kind:
    | 'pod'
    | 'link'
    | 'container'
    | 'process'
    | 'exit'
    | 'image'
    | 'verdict'
    | 'machine'
    | 'daemon';
  /** For a link: the id of its pod. */
  readonly id: string;
  readonly to: string;
  /** For a container: its pod. */
  readonly pod?: string;
  /** For a pod: whether it uses the host's network. */
  readonly host?: boolean;
  /**
   * For a container that ended: the origin of the recorded exit code (`own`, `lost`, or `error` of a failed
   * start); for one that was created: `unmade`.
   */
  readonly how?: string;
  readonly name?: string;
  readonly image?: string;
  readonly verdict?: string;
  /**
   * For a machine that restarts: the containers whose latest writes it lost, with the phases that their
   * records have again.
   */
  readonly back?: Readonly<Record<string, string>>;
}

/** The record of one run. */
export interface Run {
  readonly source: string;
  /** Whether it shows processes as well as records. */
  readonly machine: boolean;
  /** The objects that it must show; absent: pods. */
  readonly of?: 'pods' | 'images';
  readonly events: readonly TraceEvent[];
}

/** Writes JSON lines: the first describes the run, each other one is an event. */
export function writeRun(path: string, { source, machine, events }: Run): void {
  writeFileSync(path, [{ source, machine }, ...events].map((line) => `${JSON.stringify(line)}\n`).join(''));
}

export function readRun(path: string): Run {
  const [head, ...events] = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
  return { ...(head as Pick<Run, 'source' | 'machine'>), events: events as TraceEvent[] };
}
