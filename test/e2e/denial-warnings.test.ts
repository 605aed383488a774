import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createContainer, execute, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const warning = 'the network denied packets from or to a pod';
/** The daemon reads the counters every 5 s (cni-plugins/engine/thread/upkeep.ts). */
const untilLogged = 11_000;

/** Warnings of the daemon's log while pods start. */
describe('warnings about denied traffic', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());
  const warnings = (): string[] =>
    stage.daemon
      .log()
      .split('\n')
      .filter((line) => line.includes(warning));
  const addressOf = async (podSandboxId: string): Promise<string> =>
    (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId })).status?.network?.ip ?? '';

  it('do not appear for a pod that has no container yet when the bridge and other pods multicast neighbour requests', async () => {
    const waiting = await runPod(stage, 'waiting');
    const busy = await runPod(stage, 'busy');
    const asking = await runContainer(stage, busy, { image, command: ['sleep', '600'] });
    // The bridge probes for duplicates of its address and for routers in its first seconds. A pod probes for
    // an absent address.
    await pause(4_000);
    await execute(stage, asking, 'ping', '-c', '2', '-W', '1', '10.211.0.99');
    const counted = (): string =>
      execFileSync('nft', ['list', 'chain', 'bridge', 'portcullis', 'closed_to'], { encoding: 'utf8' });
    assert.match(counted(), /drop/, 'the rules exist');
    const containerId = await createContainer(stage, waiting, { image, command: ['sleep', '600'] });
    await stage.daemon.cri.runtime.startContainer({ containerId });
    assert.match(
      (await execute(stage, containerId, 'ping', '-c', '1', '-W', '5', await addressOf(busy.id))).stdout,
      /1 packets received/,
    );
    await pause(untilLogged);
    assert.deepEqual(warnings(), []);
  });

  it('name a pod that received a neighbour request and did not answer, because none of its containers runs', async () => {
    const asked = await runPod(stage, 'asked');
    const pod = await runPod(stage, 'curious');
    const asking = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    assert.match(
      (await execute(stage, asking, 'ping', '-c', '2', '-W', '1', await addressOf(asked.id))).stdout,
      /0 packets received/,
    );
    await stage.daemon.logged(new RegExp(warning));
    const [first, ...more] = warnings().map(
      (line) => JSON.parse(line) as { pod: string; rule: string; direction: string },
    );
    assert.deepEqual(
      [first?.pod, first?.rule, first?.direction, more],
      ['asked', 'network.none', 'ingress', []],
    );
  });
});
