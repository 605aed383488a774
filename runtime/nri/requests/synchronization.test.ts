import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ContainerPhase } from '../../containers/record.ts';
import type { SandboxPhase } from '../../pods/record.ts';
import type { ConnectedPlugin } from '../plugins/connected-plugin.ts';
import type { SynchronizeRequest } from '../protocol/contract.types.ts';
import { container, openNode, pod } from './node.fixture.ts';
import { createOngoing } from './ongoing.ts';
import { synchronize } from './synchronization.ts';

describe('a plugin that connects', () => {
  /** Returns the names that a plugin gets of pods and containers in all phases. */
  async function listed(): Promise<{ readonly pods: string[]; readonly containers: string[] }> {
    const requests: SynchronizeRequest[] = [];
    const { node } = await openNode({
      Synchronize: (request) => {
        requests.push(request as SynchronizeRequest);
        return {};
      },
    });
    for (const phase of ['creating', 'ready', 'stopping', 'stopped'] satisfies SandboxPhase[])
      await node.sandboxRecords.put({ ...pod, id: phase, name: phase, phase });
    const phases = ['creating', 'created', 'starting', 'running', 'exited', 'removing'];
    for (const phase of phases as ContainerPhase[])
      await node.containerRecords.put({ ...container, id: phase, name: phase, phase });
    const [connected] = node.plugins.list();
    assert.ok(connected);
    const plugin: ConnectedPlugin = { ...connected, exclusively: (body) => body(connected.call) };
    await synchronize(node, createOngoing(), plugin, 0);
    return {
      pods: requests.flatMap(({ pods }) => pods.map(({ id }) => id)),
      containers: requests.flatMap(({ containers }) => containers.map(({ id }) => id)),
    };
  }

  it('gets every pod whose removal it will be informed about', async () => {
    assert.deepEqual((await listed()).pods, ['p1', 'ready', 'stopping', 'stopped']);
  });

  it('gets every container that has not ended', async () => {
    assert.deepEqual((await listed()).containers, ['created', 'starting', 'running']);
  });
});
