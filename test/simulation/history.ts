import assert from 'node:assert/strict';
import { isPortcullisError } from '../../base/errors/index.ts';
import { createLogger } from '../../base/log/index.ts';
import type { ContainerRecord } from '../../runtime/containers/record.ts';
import { createContainerService } from '../../runtime/containers/service.ts';
import type { ContainerService } from '../../runtime/containers/service.ts';
import type { SandboxRecord } from '../../runtime/pods/record.ts';
import { createSandboxService } from '../../runtime/pods/service.ts';
import type { SandboxService } from '../../runtime/pods/service.ts';
import { keyedLock } from '../../runtime/state/keyed-lock.ts';
import { containerConfig, podConfig } from './requests.ts';
import { createScheduler } from './scheduler.ts';
import type { Scheduler } from './scheduler.ts';
import {
  containerEffects,
  createIncarnation,
  emptyWorld,
  endInfra,
  endProcess,
  leftovers,
  noFaults,
  reboot,
  sandboxEffects,
  simulatedRecords,
} from './world.ts';
import type { Odds, World } from './world.ts';

interface Node {
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
  readonly died: Promise<never>;
  /** As by a loss of power. */
  kill(): void;
}

class Died extends Error {}

const log = createLogger({ level: 'silent' });

/** One life of the daemon over the world, recovered from what the last one left. */
async function boot(world: World, scheduler: Scheduler, odds: Odds): Promise<Node> {
  let tell: (reason: Error) => void = () => undefined;
  const died = new Promise<never>((_resolve, reject) => (tell = reject));
  died.catch(() => undefined);
  const life = createIncarnation(scheduler, odds, () => {
    scheduler.clear();
    for (const process of [...world.processes.values(), ...world.infra.values()]) process.watcher = undefined;
    tell(new Died());
  });
  const sandboxRecords = simulatedRecords<SandboxRecord>(world.disk.sandbox, life);
  const containerRecords = simulatedRecords<ContainerRecord>(world.disk.container, life);
  const lock = keyedLock();
  const containers = createContainerService({
    records: containerRecords,
    requireSandbox: (id) => sandboxes.require(id),
    shareProcesses: (record) => sandboxes.shareProcesses(record),
    lock,
    log,
    effects: containerEffects(world, life, scheduler),
  });
  const sandboxes = createSandboxService({
    records: sandboxRecords,
    lock,
    log,
    containers,
    effects: sandboxEffects(world, life, scheduler),
  });
  const recovered = (async () => {
    await containers.recover();
    await sandboxes.recover((dir) => world.namespaces.has(dir));
    // As the daemon does after its recovery: what no record claims goes.
    const claimed = new Set(sandboxRecords.list().map((record) => record.namespacesDir));
    for (const dir of world.namespaces) if (!claimed.has(dir)) world.namespaces.delete(dir);
    for (const set of [world.links, world.podFiles]) for (const id of set) if (sandboxRecords.get(id) === undefined) set.delete(id);
    for (const set of [world.bundles, world.rootfs]) for (const id of set) if (containerRecords.get(id) === undefined) set.delete(id);
  })();
  await scheduler.runUntil(Promise.race([recovered, died]));
  return { sandboxes, containers, died, kill: life.kill };
}

/** Starts the daemon until it stays up; a simulated fault during recovery is a crash as well. */
async function bootUntilUp(world: World, scheduler: Scheduler, odds: Odds): Promise<Node> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await boot(world, scheduler, attempt > 5 ? noFaults : odds);
    } catch (cause) {
      if (!(cause instanceof Died) && !(isPortcullisError(cause) && cause.code === 'SIMULATED_FAULT')) throw cause;
      scheduler.clear();
      for (const process of [...world.processes.values(), ...world.infra.values()]) process.watcher = undefined;
    }
  }
}

export interface HistoryResult {
  readonly steps: number;
  readonly crashes: number;
}

/**
 * Plays one random history and checks, throughout: an answered change is never lost; the same request again succeeds after a crash;
 * nothing unadmitted ever runs; exit codes are the processes' own; every stop ends, and every end of a process reaches its record; and after
 * everything was removed, nothing is left.
 * @param observe puts something in the place of the world that sees what is done to it
 */
export async function playHistory(seed: number, observe: (world: World) => World = (world) => world): Promise<HistoryResult> {
  const scheduler = createScheduler(seed);
  const { random } = scheduler;
  const odds = { crash: random() < 0.7 ? 0.01 : 0, fail: random() < 0.5 ? 0.02 : 0 };
  // Most monitors write at once; some within the time that the watch gives them; a few are lost.
  const unobserved = emptyWorld((write, lose) => {
    const fate = random();
    if (fate < 0.6) write();
    else if (fate < 0.95) scheduler.later(1 + Math.floor(random() * 4_000), write);
    else lose();
  });
  const world = observe(unobserved);
  const pods = new Map<number, { id: string; stopped: boolean }>();
  const containers = new Map<string, { id: string; pod: number; started: boolean }>();
  let crashes = 0;
  let node = await bootUntilUp(world, scheduler, odds);

  /** A client that repeats its request after a crash of the daemon or a fault, as a kubelet does. */
  const call = async <T>(request: (current: Node) => Promise<T>): Promise<T> => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await scheduler.runUntil(Promise.race([request(node), node.died]));
      } catch (cause) {
        const died = cause instanceof Died;
        if (!died && !(isPortcullisError(cause) && cause.code === 'SIMULATED_FAULT')) throw cause;
        if (attempt > 50) throw new Error('50 attempts at one request', { cause });
        if (!died) continue;
        crashes += 1;
        node = await bootUntilUp(world, scheduler, odds);
      }
    }
  };
  /** Lets what goes on by itself, such as the recording of exits, come to its end. */
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 12; turn += 1) await call(() => scheduler.step());
  };
  /** Lets time pass, as between two looks of a kubelet: what is tried again comes to its end. */
  const wait = (ms: number): Promise<void> => call(() => scheduler.sleep(ms));
  const pick = <T>(values: readonly T[]): T | undefined => values[Math.floor(random() * values.length)];
  const check = (): void => {
    for (const { id, stopped } of pods.values()) assert.equal(node.sandboxes.require(id).phase === 'ready', !stopped, `sandbox ${id}`);
    for (const { id, started } of containers.values()) {
      const record = node.containers.require(id);
      const process = world.processes.get(id);
      if (started) assert.ok(['running', 'exited'].includes(record.phase), `started container ${id} is ${record.phase}`);
      if (record.phase === 'exited' && record.reason !== 'StartError')
        assert.equal(record.exitCode, process?.exit?.code, `exit code of ${id}`);
    }
    for (const image of world.everRan.values()) assert.equal(image, 'signed');
  };

  const actions: (() => Promise<void>)[] = [
    async () => {
      const index = Math.floor(random() * 4);
      const known = pods.get(index);
      const run = () => call((n) => n.sandboxes.run(podConfig(index), ''));
      const { id } = await run().catch(async (cause: unknown) => {
        if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_SANDBOX_NAME_TAKEN') throw cause;
        if (known?.stopped === true) return known;
        // One that was never answered: it was ready on the disk alone when the daemon died. A kubelet sees it in the list, and removes it.
        const unknown = String(cause.failure.details?.['sandboxId']);
        assert.ok(known === undefined && String(cause).includes('is not running'), String(cause));
        await call((n) => n.sandboxes.remove(unknown));
        return run();
      });
      if (pods.has(index)) assert.equal(id, pods.get(index)?.id, 'a repeated request answers the same id');
      pods.set(index, { id, stopped: pods.get(index)?.stopped ?? false });
    },
    async () => {
      const pod = pick([...pods].filter(([, one]) => !one.stopped));
      if (pod === undefined) return;
      const name = `c${Math.floor(random() * 3)}`;
      const key = `${pod[0]}/${name}`;
      if (containers.has(key)) return;
      const create = () => call((n) => n.containers.create(pod[1].id, containerConfig(name, 'signed', pod[0] < 2)));
      const { id } = await create().catch(async (cause: unknown) => {
        if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_CONTAINER_NAME_TAKEN') throw cause;
        // As above.
        const unknown = String(cause.failure.details?.['containerId']);
        assert.equal(node.containers.require(unknown).phase, 'exited', String(cause));
        await call((n) => n.containers.remove(unknown));
        return create();
      });
      containers.set(key, { id, pod: pod[0], started: false });
    },
    async () => {
      const pod = pick([...pods.values()].filter((one) => !one.stopped));
      if (pod === undefined) return;
      await assert.rejects(
        call((n) => n.containers.create(pod.id, containerConfig('evil', 'unsigned'))),
        { code: 'DENIED' },
      );
    },
    async () => {
      const entry = pick([...containers].filter(([, one]) => !one.started && pods.get(one.pod)?.stopped === false));
      if (entry === undefined) return;
      const [key, container] = entry;
      try {
        await call((n) => n.containers.start(container.id));
      } catch (cause) {
        // A start that failed in the runtime leaves an exited container, at once or when it can be recorded: it cannot be started again.
        assert.ok(isPortcullisError(cause), String(cause));
        assert.ok(['RUNTIME_CONTAINER_WRONG_STATE', 'RUNTIME_OCI_FAILED'].includes(cause.code), String(cause));
        for (let turn = 0; turn < 20 && node.containers.require(container.id).phase !== 'exited'; turn += 1) await wait(30_000);
        assert.equal(node.containers.require(container.id).phase, 'exited');
      }
      containers.set(key, { ...container, started: true });
    },
    async () => {
      const container = pick([...containers.values()]);
      if (container === undefined) return;
      await call((n) => n.containers.stop(container.id, Math.floor(random() * 3)));
      assert.equal(node.containers.require(container.id).phase, 'exited');
    },
    async () => {
      const key = pick([...containers.keys()]);
      if (key === undefined) return;
      const id = containers.get(key)?.id ?? '';
      await call((n) => n.containers.remove(id));
      containers.delete(key);
    },
    async () => {
      const index = pick([...pods.keys()]);
      if (index === undefined) return;
      const id = pods.get(index)?.id ?? '';
      await call((n) => n.sandboxes.stop(id));
      pods.set(index, { id, stopped: true });
      for (const container of containers.values())
        if (container.pod === index) assert.equal(node.containers.require(container.id).phase, 'exited');
    },
    async () => {
      const index = pick([...pods.keys()]);
      if (index === undefined) return;
      const id = pods.get(index)?.id ?? '';
      await call((n) => n.sandboxes.remove(id));
      pods.delete(index);
      for (const [key, container] of containers) if (container.pod === index) containers.delete(key);
    },
    () => {
      const running = pick([...world.processes].filter(([, process]) => process.state === 'running'));
      if (running !== undefined) endProcess(world, running[0], Math.floor(random() * 256));
      return Promise.resolve();
    },
    async () => {
      const held = pick([...world.infra].filter(([, infra]) => infra.alive).map(([id]) => id));
      const pod = [...pods].find(([, { id }]) => id === held);
      if (held === undefined || pod === undefined) return;
      endInfra(world, held);
      for (let turn = 0; turn < 20 && node.sandboxes.require(held).phase === 'ready'; turn += 1) await wait(5_000);
      assert.notEqual(node.sandboxes.require(held).phase, 'ready', 'a pod whose PID namespace has ended is not ready');
      await call((n) => n.sandboxes.stop(held));
      pods.set(pod[0], { id: held, stopped: true });
      for (const container of containers.values())
        if (container.pod === pod[0]) assert.equal(node.containers.require(container.id).phase, 'exited');
    },
  ];

  const restartMachine = async (): Promise<void> => {
    node.kill();
    reboot(world);
    node = await bootUntilUp(world, scheduler, odds);
    for (const [index, { id }] of pods) {
      for (let turn = 0; turn < 20 && node.sandboxes.require(id).phase === 'ready'; turn += 1) await wait(5_000);
      assert.notEqual(node.sandboxes.require(id).phase, 'ready', 'no pod outlives the machine');
      pods.set(index, { id, stopped: true });
    }
  };
  if (random() < 0.3) actions.push(restartMachine);

  const steps = 10 + Math.floor(random() * 25);
  for (let step = 0; step < steps; step += 1) {
    await pick(actions)?.();
    // Exits reach the record in their own time.
    await settle();
    check();
  }
  for (let turn = 0; turn < 20; turn += 1) await wait(30_000);
  for (const { id } of containers.values())
    if (world.processes.get(id)?.state === 'dead')
      assert.equal(node.containers.require(id).phase, 'exited', `the end of ${id} reaches its record`);
  for (const { id } of pods.values()) await call((n) => n.sandboxes.remove(id));
  await settle();
  assert.deepEqual(node.sandboxes.list(), []);
  assert.deepEqual(node.containers.list(), []);
  // A failed creation may leave its traces until the next start, which removes them.
  node = await bootUntilUp(world, scheduler, noFaults);
  assert.deepEqual(leftovers(world), []);
  assert.equal(world.disk.sandbox.size + world.disk.container.size, 0);
  return { steps, crashes };
}
