import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { replayOf } from '../engine/decisions.ts';
import { fault, noFaults } from '../engine/faults.ts';
import type { Incarnation } from '../engine/incarnation.ts';
import { beginLife } from '../engine/life.ts';
import { startPodsNode } from './pods-node.ts';
import { containerConfig, podConfig } from './requests.ts';
import { createScheduler } from '../engine/scheduler.ts';
import { emptyWorld, forgetWatchers } from './world.ts';

/**
 * Opens a daemon with a pod and a created container in it: the removal of a running one first ends its
 * process. @param before runs before the container is rolled back
 */
async function openCreated(before: () => Promise<void>) {
  const scheduler = createScheduler(replayOf([]));
  const world = emptyWorld(scheduler);
  const run = <T>(call: Promise<T>): Promise<T> => scheduler.runUntil(call);
  const { life, ...begun } = beginLife(world, noFaults, () => forgetWatchers(world));
  const act: Incarnation['act'] = async (kind, name, ...parts) => {
    if (name.startsWith('destruction')) await before();
    return life.act(kind, name, ...parts);
  };
  const { sandboxes, containers } = await run(startPodsNode(world, { ...begun, life: { ...life, act } }));
  const pod = await run(sandboxes.run(podConfig(2), ''));
  const { id } = await run(containers.create(pod.id, containerConfig('c', 'signed')));
  const stateOf = (): string | undefined => world.processes.get(id)?.state;
  assert.equal(stateOf(), 'created');
  return { scheduler, world, containers, sandboxes, run, pod, id, stateOf };
}

describe('a pod with a container that is being removed', () => {
  for (const what of ['pod', 'container'] as const)
    it(`has no process of that container when a stop of the ${what} is answered`, async () => {
      let open: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => (open = resolve));
      const node = await openCreated(() => gate);
      const removal = node.containers.remove(node.id);
      await node.run(node.scheduler.sleep(10));
      const [row] = node.world.database.read('SELECT record FROM container');
      assert.match(String(row?.['record']), /"phase":"removing"/);
      const asked = what === 'pod' ? node.sandboxes.stop(node.pod.id) : node.containers.stop(node.id, 0);
      const stop = asked.then(() =>
        assert.equal(node.stateOf(), 'dead', 'its process runs in a stopped pod'),
      );
      stop.catch(() => undefined);
      await node.run(node.scheduler.sleep(5_000));
      open();
      await node.run(Promise.all([removal, stop]));
    });

  it('has no process of that container after a stop when the removal has failed', async () => {
    let failures = 1;
    const node = await openCreated(async () => {
      failures -= 1;
      if (failures >= 0) throw fault('destroy', 'EBUSY');
    });
    await assert.rejects(node.run(node.containers.remove(node.id)), { code: 'SIMULATED_FAULT' });
    assert.equal(node.stateOf(), 'created');
    await node.run(node.sandboxes.stop(node.pod.id));
    assert.equal(node.stateOf(), 'dead');
    await node.run(node.sandboxes.remove(node.pod.id));
  });
});
