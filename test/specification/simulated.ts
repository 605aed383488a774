import { drawnFrom } from '../simulation/engine/decisions.ts';
import type { ImagesWorld } from '../simulation/images/images-node.ts';
import { Broken } from '../simulation/engine/invariants.ts';
import { playerOf } from '../simulation/players.ts';
import { daemonDies } from '../simulation/engine/life.ts';
import type { DatabaseFollower } from '../simulation/engine/database.ts';
import type { World } from '../simulation/pods/world.ts';
import type { Run, TraceEvent } from './events.ts';
import { beginStateJournal, commit, eventsOf, journalRows } from './journal.ts';
import type { Row } from './journal.ts';

/**
 * The kinds of histories whose lifecycle the specification describes: it does not have services of the
 * network.
 */

export type TracedKind = 'pods' | 'images';

export interface Recorded {
  readonly runs: readonly Run[];
  /** Histories that broke an invariant of the simulator: they were recorded up to that point. */
  readonly broken: readonly string[];
}

/**
 * Records the runs of a number of seeds of the simulator. The events come from three sources: the journal of
 * the simulated database, which a loss of power cuts as it cuts the rows; the simulated processes and links;
 * and the deaths of the daemon. Call `registerStandIns` before.
 */
export async function recordHistories(kind: TracedKind, first: number, count: number): Promise<Recorded> {
  const play = await playerOf(kind);
  const runs: Run[] = [];
  const broken: string[] = [];
  for (let seed = first; seed < first + count; seed += 1) {
    const recorder = createRecorder();
    const watch = {
      pods: (world: World) => watchPods(world, recorder),
      images: (world: ImagesWorld) => {
        world.database.follow(recorder.follower);
        watchBoot(world, recorder.restarts);
      },
    };
    await play(drawnFrom(seed), recorder.hear, watch).catch((cause: unknown) => {
      if (!(cause instanceof Broken)) throw cause;
      broken.push(`seed ${seed}: ${cause.message}`);
    });
    runs.push({
      source: `simulator of ${kind}, seed ${seed}`,
      machine: true,
      of: kind,
      events: recorder.events(),
    });
  }
  // A short history may have nothing to show; if no history has anything, `explain` fails.
  return {
    runs: runs.filter(({ events }) =>
      events.some((event) => event.kind === (kind === 'pods' ? 'pod' : 'image')),
    ),
    broken,
  };
}

type Event = Omit<TraceEvent, 'at'>;

interface Recorder {
  readonly report: (event: Event) => void;
  readonly hear: (event: string) => void;
  readonly follower: DatabaseFollower;
  /** Called when the machine restarts. */
  readonly restarts: () => void;
  readonly events: () => readonly TraceEvent[];
}

/** Records all events in the order in which they happened. */
function createRecorder(): Recorder {
  const reported: TraceEvent[] = [];
  const rows: Row[] = [];
  /** The current rows of the journal: fewer than `rows` after a loss of power. */
  let journal: readonly Row[] = [];
  let at = 0;
  /** The records that the latest restart of the machine lost. */
  let back: Record<string, string> = {};
  const report = (event: Event): void => void reported.push({ at: (at += 1), ...event });
  return {
    report,
    hear: (event) => {
      if (event === daemonDies) report({ kind: 'daemon', id: 'daemon', to: 'dead' });
    },
    follower: {
      begins: beginStateJournal,
      committed: (db) => {
        at += 1;
        const added = journalRows(db, journal.length).map((row) => ({ ...row, at }));
        journal = [...journal, ...added];
        rows.push(...added, { at, ...commit });
      },
      restored: (db) => {
        const kept = journalRows(db).length;
        Object.assign(back, takenBack(journal, kept));
        journal = journal.slice(0, kept);
      },
    },
    restarts: () => {
      back = {};
      report({ kind: 'machine', id: 'machine', to: 'restarted', back });
    },
    events: () => [...reported, ...eventsOf(rows)].sort((one, other) => one.at - other.at),
  };
}

/**
 * Returns the phases of the containers whose latest rows a loss of power removed. No other writes may be lost
 * (docs/decisions/0035).
 */
function takenBack(journal: readonly Row[], kept: number): Readonly<Record<string, string>> {
  const back: Record<string, string> = {};
  for (const { kind, id } of journal.slice(kept)) {
    if (kind !== 'container') throw new Error(`a loss of power took a row of kind ${kind}, of ${id}`);
    const last = journal.slice(0, kept).findLast((row) => row.kind === kind && row.id === id);
    const facts = JSON.parse(last?.facts ?? '{}') as { readonly phase?: string };
    back[id] = facts.phase ?? 'gone';
  }
  return back;
}

/** Reports the events of a history's machine outside its database. */
function watchPods(world: World, { report, follower, restarts }: Recorder): void {
  // The simulator's policy admits one image, by one verdict.
  report({ kind: 'verdict', id: 'v', to: 'admit' });
  report({ kind: 'image', id: 'signed', to: 'ready', verdict: 'v' });
  world.database.follow(follower);
  watchBoot(world, restarts);
  watchProcesses(world, report);
  watchLinks(world, report);
}

/** A restart changes the boot's id before anything else. */
function watchBoot(world: { bootId: string }, restarts: () => void): void {
  let { bootId } = world;
  Object.defineProperty(world, 'bootId', {
    get: () => bootId,
    set: (value: string) => {
      bootId = value;
      restarts();
    },
    enumerable: true,
  });
}

type Process = World['processes'] extends Map<string, infer P> ? P : never;

/** A restart of the machine ends every process without a separate event. */
function watchProcesses(world: World, report: Recorder['report']): void {
  const set = world.processes.set.bind(world.processes);
  world.processes.set = (id: string, process: Process) => {
    report({ kind: 'process', id, to: 'waiting' });
    const watched = new Proxy(process, {
      set: (target, name, value: unknown) => {
        const { state, exit } = target;
        Reflect.set(target, name, value);
        const isOfThisBoot = target.identity.bootId === world.bootId;
        if (target.state !== state && isOfThisBoot)
          report({ kind: 'process', id, to: target.state === 'dead' ? 'dead' : 'running' });
        if (exit === undefined && target.exit !== undefined)
          report({ kind: 'exit', id, to: target.exit.fromMonitor ? 'own' : 'lost' });
        return true;
      },
    });
    return set(id, watched);
  };
}

/**
 * An attachment has its lease from its intent on until it is gone, and its link while it is ready. A restart
 * removes the link without a separate event.
 */
function watchLinks({ links, leases }: World, report: Recorder['report']): void {
  const states = new Map<string, 'attaching' | 'ready' | 'detaching'>();
  const become = (id: string, to: 'attaching' | 'ready' | 'detaching'): void => {
    states.set(id, to);
    report({ kind: 'link', id, to });
  };
  const own = {
    set: leases.set.bind(leases),
    release: leases.delete.bind(leases),
    add: links.add.bind(links),
    delete: links.delete.bind(links),
    clear: links.clear.bind(links),
  };
  leases.set = (id, address) => {
    if (!states.has(id)) become(id, 'attaching');
    return own.set(id, address);
  };
  links.add = (id) => {
    if (states.get(id) === 'attaching') become(id, 'ready');
    return own.add(id);
  };
  links.delete = (id) => {
    if (states.get(id) === 'ready') become(id, 'detaching');
    return own.delete(id);
  };
  leases.delete = (id) => {
    const state = states.get(id);
    if (state !== undefined && state !== 'detaching') become(id, 'detaching');
    if (states.delete(id)) report({ kind: 'link', id, to: 'gone' });
    return own.release(id);
  };
  links.clear = () => {
    states.clear();
    own.clear();
  };
}
