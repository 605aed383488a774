import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import type { CriClient } from '../../runtime/client.ts';
import { sameProcess, processIdentity } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { newCase } from './acts.ts';
import { startDaemon } from './daemon.ts';
import { settle } from './kills.ts';
import type { Scene } from './kills.ts';
import { containerConfig, ownExitCode, proveRuns, pull, removeEverything, untilItSpeaks } from './pods.ts';
import type { PodConfig } from './pods.ts';

interface Standing {
  readonly podSandboxId: string;
  readonly pod: PodConfig;
  readonly containerId: string;
  readonly address: string;
  readonly init: ProcessIdentity;
  readonly logFile: string;
}

/**
 * Runs pods with containers; kills the daemon, then stops it in an orderly way, each time with one container
 * that ends while no daemon runs. After each start all containers are listed, the same processes run, logs
 * have no gap, exec works, and the exit is reported as it happened.
 */
export async function atRest(
  scene: Scene,
  pods: number,
): Promise<{ readonly failures: readonly string[]; readonly figures: string; readonly rounds: number }> {
  // One container ends each time, and at least one keeps running.
  const ends = (['stop', 'kill', 'stop', 'kill'] as const).slice(0, pods - 1);
  const failures: string[] = [];
  await pull(scene.daemon.cri, scene.stage.reference);
  const existing: Standing[] = [];
  for (let index = 0; index < pods; index += 1) existing.push(await stand(scene, index));
  // Another container in the first pod, which is started only at the very end.
  const waiting = await createWaiting(scene, existing[0] as Standing);
  const listedIn: number[] = [];
  for (const [round, end] of ends.entries()) {
    try {
      listedIn.push(await goAndComeBack(scene, existing, end, existing[round] as Standing));
      await expectWaiting(scene.daemon.cri, waiting);
    } catch (thrown) {
      failures.push(`at rest, ${end} ${round}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    }
  }
  try {
    await scene.daemon.cri.runtime.startContainer({ containerId: waiting });
    await proveRuns(scene.daemon.cri, waiting);
  } catch (thrown) {
    failures.push(
      `at rest, the created container: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
    );
  }
  scene.observer.learnIds();
  await removeEverything(scene.daemon.cri);
  const left = await settle(scene.observer, scene.idle);
  if (left.length > 0) failures.push(`at rest, after removing all:\n  ${left.join('\n  ')}`);
  return {
    failures,
    rounds: ends.length,
    figures: `at rest ${pods} pods listed ${listedIn.map((ms) => ms.toFixed(0)).join(', ')} ms after the start`,
  };
}

async function stand({ stage, daemon }: Scene, index: number): Promise<Standing> {
  const { cri } = daemon;
  const it = newCase(stage, `rest-${index}`, index % 2 === 0, 31_000 + index);
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config: it.pod });
  const { containerId } = await cri.runtime.createContainer({
    podSandboxId,
    config: containerConfig(it.reference, it.shared),
    sandboxConfig: it.pod,
  });
  await cri.runtime.startContainer({ containerId });
  await untilItSpeaks(cri, containerId);
  const { info } = await cri.runtime.containerStatus({ containerId, verbose: true });
  const { pid } = JSON.parse(String(info['info'])) as { readonly pid: number };
  const init = processIdentity(pid);
  if (init === undefined) throw new Error(`there is no process ${pid}`);
  return {
    podSandboxId,
    pod: it.pod,
    containerId,
    address: await addressOf(cri, podSandboxId),
    init,
    logFile: join(it.pod.logDirectory, 'main/0.log'),
  };
}

async function createWaiting({ stage, daemon }: Scene, { podSandboxId, pod }: Standing): Promise<string> {
  const config = {
    ...containerConfig(stage.reference, true),
    metadata: { name: 'waiting', attempt: 0 },
    logPath: 'waiting/0.log',
  };
  return (await daemon.cri.runtime.createContainer({ podSandboxId, config, sandboxConfig: pod })).containerId;
}

async function expectWaiting(cri: CriClient, containerId: string): Promise<void> {
  const { status } = await cri.runtime.containerStatus({ containerId });
  if (status?.state !== ContainerState.CONTAINER_CREATED)
    throw new Error(
      `the container that was only created is in state ${status?.state ?? 'unknown'} (${status?.reason ?? ''})`,
    );
}

/** Returns the milliseconds from the daemon's spawn until everything is listed. */
async function goAndComeBack(
  scene: Scene,
  existing: Standing[],
  end: 'kill' | 'stop',
  ending: Standing,
): Promise<number> {
  if (!sameProcess(ending.init))
    throw new Error('the container that must end while no daemon runs has ended before');
  const alreadyEnded = existing.filter(({ init }) => !sameProcess(init));
  await (end === 'kill' ? scene.daemon.kill() : scene.daemon.stop());
  const before = Date.now();
  process.kill(ending.init.pid, 'SIGTERM');
  while (sameProcess(ending.init)) await pause(5);
  const after = Date.now();
  const begin = performance.now();
  scene.daemon = await startDaemon(scene.stage);
  const { cri } = scene.daemon;
  const pods = (await cri.runtime.listPodSandbox({})).items;
  const { containers } = await cri.runtime.listContainers({});
  const listedMs = performance.now() - begin;
  if (pods.length !== existing.length || containers.length !== existing.length + 1)
    throw new Error(`${pods.length} pods and ${containers.length} containers are listed`);
  const { images } = await cri.image.listImages({});
  if (images.length !== 1) throw new Error(`${images.length} images are listed`);
  const lost = pods.filter(({ state }) => state !== PodSandboxState.SANDBOX_READY);
  if (lost.length > 0) throw new Error(`${lost.length} pods are no longer ready`);
  for (const one of existing) {
    if (one === ending || alreadyEnded.includes(one)) continue;
    if (!sameProcess(one.init)) throw new Error(`the container of ${one.logFile} no longer runs`);
    await proveRuns(cri, one.containerId);
    if ((await addressOf(cri, one.podSandboxId)) !== one.address)
      throw new Error(`the address of a pod is no longer ${one.address}`);
    await expectWholeLog(one.logFile);
  }
  for (const { containerId } of alreadyEnded) await exitOf(cri, containerId);
  const finished = await exitOf(cri, ending.containerId);
  if (finished < before - 10 || finished > after + 500)
    throw new Error(`its end is reported ${(finished - after).toFixed(0)} ms off`);
  return listedMs;
}

/** Returns when it ended, in ms since 1970. Throws unless it is reported as ended with its own exit code. */
async function exitOf(cri: CriClient, containerId: string): Promise<number> {
  const { status } = await cri.runtime.containerStatus({ containerId });
  if (status?.state !== ContainerState.CONTAINER_EXITED || status.exitCode !== ownExitCode)
    throw new Error(
      `the container that ended is reported as state ${status?.state ?? 'unknown'}, code ${status?.exitCode ?? 0} (${status?.reason ?? ''})`,
    );
  return Number(status.finishedAt) / 1e6;
}

async function addressOf(cri: CriClient, podSandboxId: string): Promise<string> {
  return (await cri.runtime.podSandboxStatus({ podSandboxId })).status?.network?.ip ?? '';
}

/** Checks that the log has every tick from the first on, and that it grows. */
async function expectWholeLog(file: string): Promise<void> {
  const ticks = (): number[] =>
    [...readFileSync(file, 'utf8').matchAll(/ F tick (\d+)\n/g)].map(([, tick]) => Number(tick));
  const before = ticks();
  for (let attempt = 0; ticks().length === before.length; attempt += 1) {
    if (attempt > 100) throw new Error(`${file} no longer grows`);
    await pause(20);
  }
  const gap = ticks().findIndex((tick, index) => tick !== index);
  if (gap >= 0) throw new Error(`${file} lacks tick ${gap}`);
}
