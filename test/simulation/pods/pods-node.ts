import { createLogger } from '../../../base/log/index.ts';
import type { ContainerRecord } from '../../../runtime/containers/record.ts';
import { createContainerService } from '../../../runtime/containers/container-service.ts';
import type { ContainerService } from '../../../runtime/containers/container-service.ts';
import type { SandboxRecord } from '../../../runtime/pods/record.ts';
import { createSandboxService } from '../../../runtime/pods/sandbox-service.ts';
import type { SandboxService } from '../../../runtime/pods/sandbox-service.ts';
import { createKeyedQueue } from '../../../base/queues/index.ts';
import { openRecords } from '../../../runtime/state/records.ts';
import type { Records } from '../../../runtime/state/records.ts';
import type { Life } from '../engine/client.ts';
import { containerEffects } from './container-effects.ts';
import type { Odds } from '../engine/faults.ts';
import { beginLife } from '../engine/life.ts';
import type { Begun } from '../engine/life.ts';
import { checkNames, observeRecords } from './observer.ts';
import { sandboxEffects } from './sandbox-effects.ts';
import { forgetWatchers } from './world.ts';
import type { World } from './world.ts';

/** One life of the daemon, as far as it concerns pods and containers. */
export interface PodsNode extends Life {
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
  loseWorkers(): void;
}

const log = createLogger({ level: 'silent' });

/** Wraps the records, for tests in which single writes fail. */
export interface RecordsBetween {
  readonly sandboxes: (records: Records<SandboxRecord>) => Records<SandboxRecord>;
  readonly containers: (records: Records<ContainerRecord>) => Records<ContainerRecord>;
}

/** Opens the services on the state that the previous life left. */
export async function startPodsNode(
  world: World,
  { life, ended, broken }: Begun,
  between?: RecordsBetween,
): Promise<PodsNode> {
  const { report } = world;
  const { run: lock } = createKeyedQueue();
  const database = world.database.open(life);
  const kept = {
    sandboxes: await openRecords<SandboxRecord>(database, 'sandbox'),
    containers: await openRecords<ContainerRecord>(database, 'container'),
  };
  for (const records of Object.values(kept)) checkNames(records.list());
  observeRecords({ ...kept, report, broken });
  const containers: ContainerService = createContainerService({
    records: between?.containers(kept.containers) ?? kept.containers,
    requireSandbox: (id) => sandboxes.require(id),
    shareProcesses: (record) => sandboxes.shareProcesses(record),
    lock,
    log,
    effects: containerEffects(world, life),
  });
  const sandboxes: SandboxService = createSandboxService({
    records: between?.sandboxes(kept.sandboxes) ?? kept.sandboxes,
    lock,
    log,
    containers,
    effects: sandboxEffects(world, life),
  });
  return {
    sandboxes,
    containers,
    ended,
    kill: life.kill,
    stopFaults: life.stopFaults,
    loseWorkers: life.loseWorkers,
  };
}

/** Recovers as the daemon does before it serves; then removes what no record claims. */
export async function recover(world: World, { sandboxes, containers }: PodsNode): Promise<void> {
  await containers.recover();
  await sandboxes.recover((dir) => world.namespaces.has(dir));
  const [sandboxRows, containerRows] = (['sandbox', 'container'] as const).map((table) =>
    world.database
      .read(`SELECT id, record FROM ${table}`)
      .map(({ id, record }) => ({ id: String(id), record: String(record) })),
  );
  const claimed = new Set(
    sandboxRows?.map(({ record }) => (JSON.parse(record) as SandboxRecord).namespacesDir),
  );
  for (const dir of world.namespaces) if (!claimed.has(dir)) world.namespaces.delete(dir);
  const pods = new Set(sandboxRows?.map(({ id }) => id));
  for (const set of [world.links, world.leases, world.podFiles])
    for (const id of set.keys()) if (!pods.has(id)) set.delete(id);
  const known = new Set(containerRows?.map(({ id }) => id));
  for (const set of [world.bundles, world.rootfs, world.exitFiles])
    for (const id of set.keys()) if (!known.has(id)) set.delete(id);
}

/** Starts a daemon that serves. */
export async function bootPods(world: World, odds: Odds): Promise<PodsNode> {
  const begun = beginLife(world, odds, () => forgetWatchers(world));
  const start = async (): Promise<PodsNode> => {
    const node = await startPodsNode(world, begun);
    await recover(world, node);
    return node;
  };
  try {
    return await Promise.race([start(), begun.ended]);
  } catch (cause) {
    // When a daemon does not come up, the work that it began must not continue.
    begun.life.kill();
    throw cause;
  }
}
