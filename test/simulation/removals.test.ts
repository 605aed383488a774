import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { ContainerEffects } from '../../runtime/containers/container-effects.ts';
import type { ContainerRecord } from '../../runtime/containers/record.ts';
import { createContainerService } from '../../runtime/containers/service.ts';
import type { ContainerService } from '../../runtime/containers/service.ts';
import type { SandboxRecord } from '../../runtime/pods/record.ts';
import { createSandboxService } from '../../runtime/pods/service.ts';
import type { SandboxService } from '../../runtime/pods/service.ts';
import { keyedLock } from '../../runtime/state/keyed-lock.ts';
import { containerConfig, podConfig } from './requests.ts';
import { createScheduler } from './scheduler.ts';
import { containerEffects, createIncarnation, emptyWorld, fault, noFaults, sandboxEffects, simulatedRecords } from './world.ts';

/** A daemon with a pod and a container in it that runs; `destroy` is what takes the container back, in place of the world's. */
async function openRunning(destroy: (act: () => Promise<void>) => Promise<void>) {
  const scheduler = createScheduler(1);
  const world = emptyWorld();
  const log = createLogger({ level: 'silent' });
  const life = createIncarnation(scheduler, noFaults, () => undefined);
  const lock = keyedLock();
  const plain = containerEffects(world, life, scheduler);
  const effects: ContainerEffects = { ...plain, destroy: (record) => destroy(() => plain.destroy(record)) };
  const containers: ContainerService = createContainerService({
    records: simulatedRecords<ContainerRecord>(world.disk.container, life),
    requireSandbox: (id) => sandboxes.require(id),
    shareProcesses: (record) => sandboxes.shareProcesses(record),
    lock,
    log,
    effects,
  });
  const sandboxes: SandboxService = createSandboxService({
    records: simulatedRecords<SandboxRecord>(world.disk.sandbox, life),
    lock,
    log,
    containers,
    effects: sandboxEffects(world, life, scheduler),
  });
  const run = <T>(call: Promise<T>): Promise<T> => scheduler.runUntil(call);
  const pod = await run(sandboxes.run(podConfig(2), ''));
  const { id } = await run(containers.create(pod.id, containerConfig('c', 'signed')));
  await run(containers.start(id));
  const stateOf = (): string | undefined => world.processes.get(id)?.state;
  assert.equal(stateOf(), 'running');
  return { scheduler, world, containers, sandboxes, run, pod, id, stateOf };
}

describe('a pod with a container that is being removed', () => {
  for (const what of ['pod', 'container'] as const)
    it(`has no process of it when a stop of the ${what} is answered`, async () => {
      let open: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => (open = resolve));
      const node = await openRunning(async (act) => {
        await gate;
        await act();
      });
      const removal = node.containers.remove(node.id);
      await node.run(node.scheduler.sleep(10));
      assert.equal(node.world.disk.container.get(node.id)?.includes('"phase":"removing"'), true);
      const asked = what === 'pod' ? node.sandboxes.stop(node.pod.id) : node.containers.stop(node.id, 0);
      const stop = asked.then(() => assert.equal(node.stateOf(), 'dead', 'its process lives in a pod that is stopped'));
      stop.catch(() => undefined);
      await node.run(node.scheduler.sleep(5_000));
      open();
      await node.run(Promise.all([removal, stop]));
    });

  it('is stopped without its process when the removal has failed', async () => {
    let failures = 1;
    const node = await openRunning(async (act) => {
      failures -= 1;
      if (failures >= 0) throw fault('destroy');
      await act();
    });
    await assert.rejects(node.run(node.containers.remove(node.id)), { code: 'SIMULATED_FAULT' });
    assert.equal(node.stateOf(), 'running');
    await node.run(node.sandboxes.stop(node.pod.id));
    assert.equal(node.stateOf(), 'dead');
    await node.run(node.sandboxes.remove(node.pod.id));
  });
});
