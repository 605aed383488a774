import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { layerOf } from '../fixtures/image.ts';
import { exitOf, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { createRandom } from '../fixtures/random.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openPeers, shutLabels } from './network.ts';
import type { Peers } from './network.ts';
import { nothingArrived, senderProgram, somethingArrived } from './sender-program.ts';

export interface StartOptions {
  readonly starts: number;
  /** Pods that are started at the same time. */
  readonly lanes: number;
  /** How often the daemon is killed meanwhile. */
  readonly kills: number;
  readonly seed: number;
}

/** Each of so many pods is not selected by the policy: its packets prove that the peers work. */
const openEvery = 20;

export interface Figures {
  /** Containers with the policy that ran to their end, and those whose end a kill of the daemon hid. */
  shut: number;
  unknown: number;
  /** Containers without a policy, and how many of them received a packet. */
  open: number;
  reached: number;
  kills: number;
}

/**
 * Starts containers that send with their first instructions, most of them under a policy that allows nothing,
 * and kills the daemon meanwhile.
 * @throws AssertionError if a packet of a container with the policy reached a peer, or the reverse, or if the
 * peers have not heard the containers without a policy
 */
export async function startMany(stage: Stage, options: StartOptions): Promise<Figures> {
  const peerPod = await runPod(stage, 'peer', { labels: { app: 'peer' } });
  const peers = await openPeers(await placeOf(stage, peerPod));
  try {
    const image = await publishSenders(stage, peers);
    // The pod of a peer has a class only when it has a container.
    await runContainer(stage, peerPod, { image, command: ['sleep', '86400'] });
    const figures: Figures = { shut: 0, unknown: 0, open: 0, reached: 0, kills: 0 };
    const run = createRun(stage, image, figures, options);
    const lanes = Array.from({ length: options.lanes }, () => run.lane());
    // All of them end before the daemon is stopped.
    const failed = (await Promise.allSettled([run.kill(), ...lanes])).find(
      (end) => end.status === 'rejected',
    );
    if (failed !== undefined) throw failed.reason;
    const heard = await peers.heard();
    console.log(JSON.stringify(heard));
    for (const [peer, words] of Object.entries(heard)) {
      assert.ok(!words.includes('SHUT'), `${peer} heard a container that may send nothing`);
      assert.ok(words.includes('OPEN'), `${peer} heard no container that may send`);
    }
    assert.ok(
      figures.reached > figures.open / 2,
      `${figures.reached} of ${figures.open} open pods were reached`,
    );
    return figures;
  } finally {
    peers.close();
  }
}

async function placeOf(
  stage: Stage,
  pod: Pod,
): Promise<{ readonly namespace: string; readonly addresses: readonly string[] }> {
  const { status } = await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id });
  const { network } = status ?? assert.fail();
  const database = new DatabaseSync(join(stage.folders.root, 'network.db'), { readOnly: true });
  const netns = database
    .prepare("SELECT json_extract(spec, '$.netns') AS path FROM attachment WHERE container_id = ?")
    .get(pod.id)?.['path'];
  database.close();
  return {
    namespace: String(netns),
    addresses: [network?.ip ?? '', ...(network?.additionalIps ?? []).map(({ ip }) => ip)],
  };
}

async function publishSenders(stage: Stage, { addresses }: Peers): Promise<string> {
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const layer = await layerOf(
    ['SHUT', 'OPEN'].map((word) => ({
      name: word,
      mode: 0o755,
      body: senderProgram(machine, word, addresses),
    })),
  );
  return stage.pull((await stage.publish('window/sender:1', { layers: [layer] })).reference);
}

function createRun(stage: Stage, image: string, figures: Figures, options: StartOptions) {
  const random = createRandom(options.seed);
  let begun = 0;
  /** Settled while the daemon runs. */
  let running: Promise<unknown> = Promise.resolve();
  let hasFailed = false;
  let isRestarting = false;
  const isOver = (): boolean => hasFailed || figures.shut + figures.open >= options.starts;

  /** Runs a pod. @returns the exit code of its container, or undefined if a kill hid it */
  const runOne = async (name: string, isOpen: boolean): Promise<number | undefined> => {
    const labels = isOpen ? {} : shutLabels;
    let exitCode: number | undefined;
    try {
      const pod = await runPod(stage, name, { labels });
      const id = await runContainer(stage, pod, { image, command: [isOpen ? '/OPEN' : '/SHUT'] });
      exitCode = (await exitOf(stage, id)).exitCode;
    } catch (thrown) {
      if (stage.daemon.isAlive() && !isRestarting) throw thrown;
    }
    return exitCode;
  };

  const removeAll = async (name: string): Promise<void> => {
    for (;;)
      try {
        await running;
        const { items } = await stage.daemon.cri.runtime.listPodSandbox({});
        for (const { id, metadata } of items)
          if (metadata?.name === name) await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: id });
        return;
      } catch (thrown) {
        if (stage.daemon.isAlive() && !isRestarting) throw thrown;
        await pause(20);
      }
  };

  const runNext = async (): Promise<void> => {
    begun += 1;
    const isOpen = begun % openEvery === 0;
    const name = `pod-${begun}`;
    await running;
    const exitCode = await runOne(name, isOpen);
    await removeAll(name);
    if (exitCode === undefined) figures.unknown += 1;
    else if (isOpen) {
      figures.open += 1;
      if (exitCode === somethingArrived) figures.reached += 1;
    } else {
      figures.shut += 1;
      assert.equal(exitCode, nothingArrived, `${name}: exit code; ${somethingArrived}: a packet arrived`);
    }
    if (begun % 500 === 0) console.log(JSON.stringify(figures));
  };

  return {
    async lane(): Promise<void> {
      try {
        while (!isOver()) await runNext();
      } catch (thrown) {
        hasFailed = true;
        throw thrown;
      }
    },
    async kill(): Promise<void> {
      while (!isOver() && figures.kills < options.kills) {
        // Spread over all starts, each at a random moment of them.
        const due = ((figures.kills + random()) * options.starts) / options.kills;
        while (!isOver() && figures.shut + figures.open < due) await pause(10);
        await pause(random() * 200);
        isRestarting = true;
        running = stage.restart({ kill: true });
        await running;
        isRestarting = false;
        figures.kills += 1;
      }
    },
  };
}
