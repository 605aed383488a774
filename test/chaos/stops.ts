import { acts, newCase } from './acts.ts';
import { endOfLog, startDaemon } from './daemon.ts';
import { startAgain, listed, settle, untilMoment } from './kills.ts';
import type { Scene } from './kills.ts';
import { proveRuns, removeEverything } from './pods.ts';

/**
 * Kills the daemon `count` times while it stops in an orderly way, every other time with a pod that must keep
 * running. The next daemon takes over everything that the stop did not undo. `cut` counts the kills that came
 * before the end of the stop.
 */
export async function killDuringStops(
  scene: Scene,
  input: { readonly count: number; readonly random: () => number; readonly print: (line: string) => void },
): Promise<{ readonly failures: readonly string[]; readonly cut: number }> {
  const failures: string[] = [];
  let cut = 0;
  const stop = await measureStop(scene);
  for (let index = 0; index < input.count; index += 1) {
    const [atMs, withPod] = [input.random() * stop, index % 2 === 0];
    const title = `stop ${index}: killed after ${atMs.toFixed(1)} of ${stop.toFixed(1)} ms, ${withPod ? 'a pod runs' : 'no pod'}`;
    try {
      const isCut = await killOneStop(scene, atMs, withPod, `stop-${index}`);
      if (isCut) cut += 1;
      input.print(`${title}: ${isCut ? 'cut short' : 'stopped before'}, held`);
    } catch (thrown) {
      failures.push(`${title}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      input.print(`FAILED ${failures.at(-1) ?? ''}\n${endOfLog(scene.stage)}`);
      await startAgain(scene);
    }
  }
  return { failures, cut };
}

async function measureStop(scene: Scene): Promise<number> {
  const begin = performance.now();
  await scene.daemon.stop();
  const duration = performance.now() - begin;
  scene.daemon = await startDaemon(scene.stage);
  return duration;
}

/** Returns whether the kill came before the end of the stop. */
async function killOneStop(scene: Scene, atMs: number, withPod: boolean, name: string): Promise<boolean> {
  const { stage, observer, daemon } = scene;
  const it = newCase(stage, name, true);
  const start = acts.find((act) => act.name === 'StartContainer');
  if (withPod) {
    await start?.prepare(daemon.cri, it);
    await start?.request(daemon.cri, it);
  }
  observer.learnIds();
  process.kill(daemon.pid, 'SIGTERM');
  await untilMoment(performance.now() + atMs);
  const isCut = await daemon.kill();
  scene.daemon = await startDaemon(stage);
  if (withPod) await proveRuns(scene.daemon.cri, it.containerId);
  await removeEverything(scene.daemon.cri);
  const left = await settle(observer, scene.idle);
  if (left.length > 0) throw new Error(`after removing all:\n  ${listed(left)}`);
  return isCut;
}
