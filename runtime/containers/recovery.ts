import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Exit } from '../monitor/exits.ts';
import type { Records } from '../state/records.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerEffects } from './container-effects.ts';

/** How long the start of the daemon waits for half-created and half-removed containers together, in ms. */
const undoMs = 5_000;

/**
 * Continues after a crash: undoes half-created containers, finishes removals, adopts living containers,
 * records exits that happened meanwhile. Exit codes come from the monitor's file on disk. If a process is
 * gone while its monitor lives, it is watched: the monitor is about to write. Without either, the exit code
 * is lost, and 255 is reported.
 */
export async function recoverContainers(parts: {
  readonly records: Records<ContainerRecord>;
  readonly effects: ContainerEffects;
  readonly log: Logger;
  readonly watch: (record: ContainerRecord) => void;
  /** Removes one under its lock and that of its pod: it may take longer than the start of the daemon. */
  readonly takeBack: (record: ContainerRecord) => Promise<void>;
  readonly recordExit: (id: string, exit: Exit) => Promise<void>;
}): Promise<void> {
  const { records, effects, log } = parts;
  const bringInOrder = async (record: ContainerRecord): Promise<void> => {
    if (record.phase === 'creating' || record.phase === 'removing') return parts.takeBack(record);
    if (record.phase === 'exited') return effects.forgetExit(record.id);
    // It never had a process: its start will fail.
    if (record.startFailure !== undefined) return;
    const exit = await effects.recordedExit(record.id);
    const started =
      record.phase === 'starting' &&
      exit === undefined &&
      effects.isAlive(record) &&
      (await effects.isStarted(record));
    // A start whose answer no caller received.
    const now: ContainerRecord = started ? { ...record, phase: 'running', startedAt: effects.now() } : record;
    if (started) await records.put(now);
    if (exit !== undefined) return parts.recordExit(record.id, exit);
    if (effects.isAlive(now) || effects.isMonitored(now)) return parts.watch(now);
    // The monitor may have written this file as its last step.
    const last = await effects.recordedExit(record.id);
    if (last === undefined)
      log.warn({ container: record.id }, 'a container is gone, and its exit code is lost');
    await parts.recordExit(record.id, last ?? { code: 255, finishedAt: effects.now(), fromMonitor: false });
  };
  const settle = (some: readonly ContainerRecord[]): Promise<unknown> =>
    Promise.all(
      some.map((record) =>
        bringInOrder(record).catch((cause: unknown) => {
          log.error(
            { container: record.id, cause: reasonOf(cause) },
            'this container could not be recovered; its next request, or the next start, tries again',
          );
          // Its end is watched even if a step failed.
          if (record.phase === 'created' || record.phase === 'starting' || record.phase === 'running')
            parts.watch(record);
        }),
      ),
    );
  const { undone = [], made = [] } = Object.groupBy(records.list(), ({ phase }) =>
    phase === 'creating' || phase === 'removing' ? 'undone' : 'made',
  );
  // A shim that hangs answers after half a minute, if at all. The other containers do not wait for it.
  const undoing = settle(undone);
  await settle(made);
  if (undone.length > 0) await Promise.race([undoing, effects.clock.sleep(undoMs)]);
}
