import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ContainerRecord } from '../../../runtime/containers/record.ts';
import type { Keyed, Records } from '../../../runtime/state/records.ts';
import { Died } from '../engine/client.ts';
import { replayOf } from '../engine/decisions.ts';
import { fault, noFaults } from '../engine/faults.ts';
import type { Incarnation } from '../engine/incarnation.ts';
import { beginLife } from '../engine/life.ts';
import { recover, startPodsNode } from './pods-node.ts';
import type { PodsNode } from './pods-node.ts';
import { containerConfig, podConfig } from './requests.ts';
import { createScheduler } from '../engine/scheduler.ts';
import { noReport } from '../engine/history-events.ts';
import { emptyWorld, endProcess, forgetWatchers, leftovers, reboot } from './world.ts';
import type { MonitorActs } from './world.ts';

/**
 * Writes of one type of record that fail, as on a full disk: the next `n` writes that `of` names fail before
 * they take effect.
 */
interface Disk {
  failing: number;
  of: (record: object) => boolean;
}

function onDisk<T extends Keyed>(records: Records<T>, disk: Disk): Records<T> {
  return {
    ...records,
    put: (record, ...more) => {
      if (disk.failing === 0 || !disk.of(record)) return records.put(record, ...more);
      disk.failing -= 1;
      return Promise.reject(fault('put', 'ENOSPC'));
    },
  };
}

/** Opens one daemon over a separate world without faults, whose writes fail when the test says so. */
function openNode(monitorActs?: MonitorActs) {
  const scheduler = createScheduler(replayOf([]));
  const world = emptyWorld(scheduler, noReport, monitorActs);
  const containerDisk: Disk = { failing: 0, of: () => true };
  const sandboxDisk: Disk = { failing: 0, of: () => true };
  const run = <T>(call: Promise<T>): Promise<T> => scheduler.runUntil(call);
  const wait = (ms: number): Promise<void> => run(scheduler.sleep(ms));
  const boot = (): Promise<PodsNode> =>
    run(
      startPodsNode(
        world,
        beginLife(world, noFaults, () => forgetWatchers(world)),
        {
          sandboxes: (records) => onDisk(records, sandboxDisk),
          containers: (records) => onDisk(records, containerDisk),
        },
      ),
    );
  return { scheduler, world, containerDisk, sandboxDisk, boot, run, wait };
}

async function openRunning(node: ReturnType<typeof openNode>) {
  const { sandboxes, containers } = await node.boot();
  const pod = await node.run(sandboxes.run(podConfig(2), ''));
  const container = await node.run(containers.create(pod.id, containerConfig('c', 'signed')));
  await node.run(containers.start(container.id));
  // The simulated image may end at once.
  assert.equal(node.world.processes.get(container.id)?.state, 'running');
  return { sandboxes, containers, pod, container };
}

describe('an exit whose record cannot be written', () => {
  it('is recorded as soon as possible, without a request', async () => {
    const node = openNode();
    const { containers, container } = await openRunning(node);
    node.containerDisk.failing = 5;
    endProcess(node.world, container.id, 3);
    await node.wait(30_000);
    assert.partialDeepStrictEqual(containers.require(container.id), { phase: 'exited', exitCode: 3 });
    assert.equal(node.world.exitFiles.size, 0, 'the file was removed after the record was written');
  });

  it('does not delay a stop, which writes the record', async () => {
    const node = openNode();
    const { sandboxes, containers, pod, container } = await openRunning(node);
    node.containerDisk.failing = 2;
    endProcess(node.world, container.id, 3);
    await node.run(containers.stop(container.id, 1));
    assert.partialDeepStrictEqual(containers.require(container.id), { phase: 'exited', exitCode: 3 });
    await node.run(sandboxes.stop(pod.id));
    await node.run(sandboxes.remove(pod.id));
    assert.deepEqual(containers.list(), []);
  });

  it('makes a stop fail while the disk stays full, and the next stop succeeds', async () => {
    const node = openNode();
    const { containers, container } = await openRunning(node);
    node.containerDisk.failing = Infinity;
    endProcess(node.world, container.id, 3);
    const begin = node.scheduler.now();
    await assert.rejects(node.run(containers.stop(container.id, 0)), { code: 'SIMULATED_FAULT' });
    assert.ok(node.scheduler.now() - begin < 10_000, `after ${node.scheduler.now() - begin} ms`);
    node.containerDisk.failing = 0;
    await node.run(containers.stop(container.id, 0));
    assert.partialDeepStrictEqual(containers.require(container.id), { phase: 'exited', exitCode: 3 });
  });

  it('follows a start whose record cannot be written', async () => {
    const node = openNode();
    const { sandboxes, containers } = await node.boot();
    const pod = await node.run(sandboxes.run(podConfig(2), ''));
    const { id } = await node.run(containers.create(pod.id, containerConfig('c', 'signed')));
    Object.assign(node.containerDisk, {
      failing: 1,
      of: (record: ContainerRecord) => record.phase === 'running',
    });
    await assert.rejects(node.run(containers.start(id)), { code: 'SIMULATED_FAULT' });
    await node.wait(30_000);
    assert.equal(
      node.world.processes.get(id)?.state,
      'dead',
      'the process has ended, and a kubelet starts another container',
    );
    assert.equal(containers.require(id).phase, 'exited');
  });
});

describe('a pod whose first record cannot be written', () => {
  it('leaves no namespaces, and can be requested again', async () => {
    const node = openNode();
    const { sandboxes } = await node.boot();
    for (let attempt = 0; attempt < 5; attempt += 1) {
      node.sandboxDisk.failing = 1;
      await assert.rejects(node.run(sandboxes.run(podConfig(2), '')), { code: 'SIMULATED_FAULT' });
      assert.deepEqual(leftovers(node.world), []);
    }
    await node.run(sandboxes.run(podConfig(2), ''));
    assert.equal(node.world.namespaces.size, 1);
  });
});

describe('a pod whose ready record is written but reported as failed', () => {
  it('is not ready after a kill that cuts off its removal', async () => {
    const { world, run, boot } = openNode();
    const { life, ...begun } = beginLife(world, noFaults, () => forgetWatchers(world));
    let writes = 0;
    const act: Incarnation['act'] = async (kind, name, ...parts) => {
      const answer = await life.act(kind, name, ...parts);
      if (name.startsWith('detach')) life.kill();
      if (name === 'write to the database' && (writes += 1) === 2) throw fault(name, 'EIO');
      return answer;
    };
    const { sandboxes } = await run(startPodsNode(world, { ...begun, life: { ...life, act } }));
    await assert.rejects(run(Promise.race([sandboxes.run(podConfig(2), ''), begun.ended])), Died);
    assert.equal(world.links.size, 0);
    const node = await boot();
    await run(recover(world, node));
    assert.deepEqual(node.sandboxes.list(), []);
    await run(node.sandboxes.run(podConfig(2), ''));
    assert.equal(world.links.size, 1);
  });
});

describe('an incomplete pod whose removal is written but reported as failed', () => {
  it('can be requested again', async () => {
    const { world, run } = openNode();
    const { life, ...begun } = beginLife(world, noFaults, () => forgetWatchers(world));
    let writes = 0;
    const act: Incarnation['act'] = async (kind, name, ...parts) => {
      const answer = await life.act(kind, name, ...parts);
      const isWrite = name === 'write to the database';
      if (isWrite) writes += 1;
      // The ready record, its reset to an incomplete pod, and its removal.
      if (isWrite && (writes === 2 || writes === 4)) throw fault(name, 'EIO');
      return answer;
    };
    const { sandboxes } = await run(startPodsNode(world, { ...begun, life: { ...life, act } }));
    await assert.rejects(run(sandboxes.run(podConfig(2), '')), { code: 'SIMULATED_FAULT' });
    await run(sandboxes.run(podConfig(2), ''));
    assert.deepEqual([world.links.size, world.namespaces.size], [1, 1]);
  });
});

describe('a daemon that starts between the end of a process and the file of its monitor', () => {
  it('waits for the exit code', async () => {
    let write: () => void = () => undefined;
    const node = openNode((monitorWrites) => (write = monitorWrites));
    const { container } = await openRunning(node);
    endProcess(node.world, container.id, 3);
    const { containers } = await node.boot();
    await node.run(containers.recover());
    await node.wait(1_000);
    assert.equal(containers.require(container.id).phase, 'running');
    write();
    await node.wait(1_000);
    assert.partialDeepStrictEqual(containers.require(container.id), {
      phase: 'exited',
      exitCode: 3,
      reason: 'Error',
    });
  });

  it('reports an exit code as lost when there is neither a file nor a monitor', async () => {
    let lose: () => void = () => undefined;
    const node = openNode((_write, monitorIsLost) => (lose = monitorIsLost));
    const { containers: before, container } = await openRunning(node);
    await before.close();
    endProcess(node.world, container.id, 3);
    lose();
    const { containers } = await node.boot();
    await node.run(containers.recover());
    assert.partialDeepStrictEqual(containers.require(container.id), {
      phase: 'exited',
      exitCode: 255,
      reason: 'MonitorLost',
    });
  });
});

describe('a restarted machine', () => {
  it('has no ready pod, also no pod that had only namespaces of the host', async () => {
    const node = openNode();
    const { sandboxes: before } = await node.boot();
    const own = await node.run(before.run(podConfig(2), ''));
    const host = await node.run(before.run(podConfig(3), ''));
    assert.equal(host.namespacesDir, undefined);
    before.close();
    reboot(node.world);
    // Whether its files are gone as well depends on where they are.
    node.world.podFiles.add(host.id);
    const { sandboxes } = await node.boot();
    await node.run(sandboxes.recover((dir) => node.world.namespaces.has(dir)));
    assert.deepEqual(
      [own, host].map(({ id }) => sandboxes.require(id).phase),
      ['stopped', 'stopped'],
    );
  });

  it('stops a pod whose files are gone, although it is the same boot: a node may be a container', async () => {
    const node = openNode();
    const { sandboxes: before } = await node.boot();
    const host = await node.run(before.run(podConfig(3), ''));
    before.close();
    node.world.podFiles.clear();
    const { sandboxes } = await node.boot();
    await node.run(sandboxes.recover(() => true));
    assert.equal(sandboxes.require(host.id).phase, 'stopped');
  });
});
