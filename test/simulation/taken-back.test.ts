import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { SandboxRecord } from '../../runtime/pods/record.ts';
import { createSandboxService } from '../../runtime/pods/service.ts';
import type { SandboxService } from '../../runtime/pods/service.ts';
import { keyedLock } from '../../runtime/state/keyed-lock.ts';
import type { Records } from '../../runtime/state/records.ts';
import { podConfig } from './requests.ts';
import { createScheduler } from './scheduler.ts';
import { createIncarnation, emptyWorld, fault, noFaults, sandboxEffects, simulatedRecords } from './world.ts';
import type { Incarnation } from './world.ts';

const scheduler = createScheduler(1);
const noContainers = { stopAllOf: () => Promise.resolve(), removeAllOf: () => Promise.resolve() };

/** One daemon over the world. @param wrap what stands between it and its records */
function boot(
  world: ReturnType<typeof emptyWorld>,
  life: Incarnation,
  wrap: (records: Records<SandboxRecord>) => Records<SandboxRecord> = (records) => records,
  detached: () => void = () => undefined,
): SandboxService {
  const effects = sandboxEffects(world, life, scheduler);
  const detach = async (id: string): Promise<void> => {
    await effects.network.detach(id);
    detached();
  };
  return createSandboxService({
    records: wrap(simulatedRecords<SandboxRecord>(world.disk.sandbox, life)),
    lock: keyedLock(),
    log: createLogger({ level: 'silent' }),
    containers: noContainers,
    effects: { ...effects, network: { ...effects.network, detach } },
  });
}

it('a pod that is being taken back when the daemon is killed is not ready, although its record had been written', async () => {
  const world = emptyWorld();
  let died: () => void = () => undefined;
  const death = new Promise<void>((resolve) => (died = resolve));
  const life = createIncarnation(scheduler, noFaults, died);
  let failures = 1;
  // The write that makes the pod ready takes effect, and is reported as failed.
  const reportedAsFailed = (records: Records<SandboxRecord>): Records<SandboxRecord> => ({
    ...records,
    put: async (record) => {
      if (record.phase !== 'ready' || failures === 0) return records.put(record);
      failures -= 1;
      world.disk.sandbox.set(record.id, JSON.stringify(record));
      throw fault('put');
    },
  });
  // The daemon is killed once the link is gone, before the record is.
  const before = boot(world, life, reportedAsFailed, () => life.kill());
  await scheduler.runUntil(Promise.race([before.run(podConfig(2), ''), death]));
  assert.equal(world.links.size, 0);
  scheduler.clear();

  const after = boot(
    world,
    createIncarnation(scheduler, noFaults, () => undefined),
  );
  await scheduler.runUntil(after.recover((dir) => world.namespaces.has(dir)));
  assert.deepEqual(
    after.list().filter(({ phase }) => phase === 'ready'),
    [],
    'a pod without its link is ready',
  );
  await scheduler.runUntil(after.run(podConfig(2), ''));
  assert.equal(world.links.size, 1);
});
