import { setTimeout as pause } from 'node:timers/promises';
import type { RunningDaemon } from './daemon.ts';
import { difference } from './outside.ts';
import type { Observer } from './outside.ts';

/**
 * Files and folders that a stopped daemon may leave in its root and state folders: the folders themselves,
 * databases with their reserved space, the capabilities of handlers, the mark of the last run, results of
 * proofs, the program of shared PID namespaces.
 */
const plain =
  /^file (?:d \/(?:root|state)|d \/root\/(?:entitlements|exits|images(?:\/(?:blobs|blobs\/sha256|empty|ingest|layers|mounts|rootfs|staging|trash|volumes))?)|d \/state\/(?:a|containers|ns|pods|u|oci(?:\/[a-z]+)?|infra(?:\/(?:dev|proc))?)|f \/state\/infra\/pause|f \/root\/(?:state|network)\.db(?:-reserve(?:-index)?)?|f \/root\/entitlements\/[0-9a-f]{64}|f \/root\/handler-features\.json|f \/root\/images\/last-run\.json)$/;

/**
 * Stops the daemon in an orderly way; returns the lines of the observer after it that are not in `untouched`.
 */
export async function stopAndLook(
  daemon: RunningDaemon,
  observer: Observer,
  untouched: readonly string[],
): Promise<readonly string[]> {
  const code = await daemon.stop();
  const problems = code === 0 ? [] : [`the daemon's stop ended with ${code ?? 'a kill'}`];
  // The kernel removes links and namespaces with a delay.
  for (let attempt = 0; ; attempt += 1) {
    const left = difference(
      untouched,
      observer.look().filter((line) => !plain.test(line) && !line.startsWith('rows ')),
    );
    if (left.length === 0 || attempt === 100) return [...problems, ...left];
    await pause(50);
  }
}
