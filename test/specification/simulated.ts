import { NamespaceMode } from '../../runtime/cri/contract/contract.types.ts';
import type { ContainerRecord } from '../../runtime/containers/record.ts';
import type { SandboxRecord } from '../../runtime/pods/record.ts';
import { playHistory } from '../simulation/history.ts';
import type { World } from '../simulation/world.ts';
import type { Run, TraceEvent } from './events.ts';
import { howOf } from './journal.ts';

/** Plays one history of the simulator, and tells what its disk, its network and its processes went through. */
async function recordHistory(seed: number): Promise<Run> {
  const events: TraceEvent[] = [];
  await playHistory(seed, (world) => watched(world, (event) => events.push({ at: events.length + 1, ...event })));
  return { source: `simulator, seed ${seed}`, machine: true, events };
}

/** The runs of so many seeds. Short histories without a pod are none. */
export async function recordHistories(first: number, count: number): Promise<readonly Run[]> {
  const runs: Run[] = [];
  for (let seed = first; seed < first + count; seed += 1) runs.push(await recordHistory(seed));
  return runs.filter(({ events }) => events.some(({ kind }) => kind === 'pod'));
}

type Tell = (event: Omit<TraceEvent, 'at'>) => void;

/** A disk whose writes are told. */
class Disk extends Map<string, string> {
  readonly #tell: (id: string, text: string | undefined) => void;
  constructor(tell: (id: string, text: string | undefined) => void) {
    super();
    this.#tell = tell;
  }
  override set(id: string, text: string): this {
    this.#tell(id, text);
    return super.set(id, text);
  }
  override delete(id: string): boolean {
    if (this.has(id)) this.#tell(id, undefined);
    return super.delete(id);
  }
}

/** Links of which their coming and going is told; a restart of the machine takes them without a word of their own. */
class Links extends Set<string> {
  readonly #tell: (id: string, states: readonly string[]) => void;
  constructor(tell: (id: string, states: readonly string[]) => void) {
    super();
    this.#tell = tell;
  }
  override add(id: string): this {
    if (!this.has(id)) this.#tell(id, ['attaching', 'ready']);
    return super.add(id);
  }
  override delete(id: string): boolean {
    if (this.has(id)) this.#tell(id, ['detaching', 'gone']);
    return super.delete(id);
  }
}

type Process = World['processes'] extends Map<string, infer P> ? P : never;

/** Processes of which each change is told. */
class Processes extends Map<string, Process> {
  readonly #tell: Tell;
  constructor(tell: Tell) {
    super();
    this.#tell = tell;
  }
  override set(id: string, process: Process): this {
    const tell = this.#tell;
    tell({ kind: 'process', id, to: 'waiting' });
    const observed = new Proxy(process, {
      set: (target, name, value: unknown) => {
        const { state, exit } = target;
        Reflect.set(target, name, value);
        if (target.state !== state) tell({ kind: 'process', id, to: target.state === 'dead' ? 'dead' : 'running' });
        if (exit === undefined && target.exit !== undefined) tell({ kind: 'exit', id, to: target.exit.fromMonitor ? 'own' : 'lost' });
        return true;
      },
    });
    return super.set(id, observed);
  }
}

function watched(world: World, tell: Tell): World {
  const processes = new Processes((event) => {
    // A restart of the machine has ended it already.
    if (event.to === 'dead' && restarting) return;
    tell(event);
  });
  let restarting = false;
  let { bootId } = world;
  // The simulator's policy admits one image, by one verdict.
  tell({ kind: 'verdict', id: 'v', to: 'admit' });
  tell({ kind: 'image', id: 'signed', to: 'ready', verdict: 'v' });
  const result: World = {
    ...world,
    disk: {
      sandbox: new Disk((id, text) => tell({ kind: 'pod', id, ...podFacts(text) })),
      container: new Disk((id, text) => tell({ kind: 'container', id, ...containerFacts(text) })),
    },
    links: new Links((id, states) => states.forEach((to) => tell({ kind: 'link', id, to }))),
    processes,
  };
  Object.defineProperty(result, 'bootId', {
    get: () => bootId,
    set: (value: string) => {
      bootId = value;
      tell({ kind: 'machine', id: 'machine', to: 'restarted' });
      // The simulator ends every process in this turn.
      restarting = true;
      queueMicrotask(() => (restarting = false));
    },
    enumerable: true,
  });
  return result;
}

function podFacts(text: string | undefined): Pick<TraceEvent, 'to' | 'host'> {
  if (text === undefined) return { to: 'gone' };
  const { phase, config } = JSON.parse(text) as SandboxRecord;
  return { to: phase, host: config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE };
}

function containerFacts(text: string | undefined): Omit<TraceEvent, 'at' | 'kind' | 'id'> {
  if (text === undefined) return { to: 'gone' };
  const { phase, sandboxId, imageId, verdictId, reason, startFailure = '' } = JSON.parse(text) as ContainerRecord;
  const how = howOf(phase, reason, startFailure);
  return { to: phase, pod: sandboxId, image: imageId, verdict: verdictId, ...(how !== undefined && { how }) };
}
