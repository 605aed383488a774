import { readFileSync, writeFileSync } from 'node:fs';

/** One change of state that a run shows: a durable write of a record, or what the machine did. */
export interface TraceEvent {
  /** Orders events that come from two databases: milliseconds, or any count that grows. */
  readonly at: number;
  readonly kind: 'pod' | 'link' | 'container' | 'process' | 'exit' | 'image' | 'verdict' | 'machine' | 'daemon';
  /** Of a link: the pod's. */
  readonly id: string;
  readonly to: string;
  /** Of a container: its pod. */
  readonly pod?: string;
  /** Of a pod: whether it is on the host's network. */
  readonly host?: boolean;
  /** Of a container that ended: whose code the record has (`own`, `lost`, or `error` of a failed start); of one that was made: `unmade`. */
  readonly how?: string;
  readonly name?: string;
  readonly image?: string;
  readonly verdict?: string;
  /** Of a machine that restarts: the containers whose latest writes it took back, with the phases that their records have again. */
  readonly back?: Readonly<Record<string, string>>;
}

/** What was recorded of one run. */
export interface Run {
  readonly source: string;
  /** Whether it shows processes as well as records. */
  readonly machine: boolean;
  /** What it must show; absent: pods. */
  readonly of?: 'pods' | 'images';
  readonly events: readonly TraceEvent[];
}

/** JSON lines: the first says what the run was, each other one is an event. */
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
