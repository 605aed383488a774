import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Exit } from '../monitor/exits.ts';
import type { KeyedQueue } from '../../base/queues/index.ts';
import type { Records } from '../state/records.ts';
import { untilDone } from '../state/retry-until-done.ts';
import type { ContainerEffects } from './container-effects.ts';
import { exitReason } from './exit-reason.ts';
import { nextContainerPhase } from './lifecycle.ts';
import type { ContainerRecord } from './record.ts';

/**
 * Writes exits into the durable records. An exit that cannot be written is kept, and the write is repeated
 * until it succeeds.
 */
export interface ExitRecorder {
  /**
   * Resolves when the record is durable. If it throws, the exit is kept, and further attempts follow in the
   * background.
   */
  record(id: string, exit: Exit): Promise<void>;
  /** Writes a kept exit now; false when there is none. Throws when it cannot be written. */
  retry(id: string): Promise<boolean>;
  /** Resolves when the container's exit is recorded, or its record is gone. */
  exited(id: string): Promise<void>;
  /** Wakes the callers that wait for the exit. */
  settle(id: string): void;
  /** Starts no further attempts. */
  close(): void;
}

export function createExitRecorder(parts: {
  readonly records: Records<ContainerRecord>;
  readonly lock: KeyedQueue['run'];
  readonly effects: Pick<ContainerEffects, 'killLeftovers' | 'wasOutOfMemory' | 'forgetExit' | 'clock'>;
  readonly log: Logger;
}): ExitRecorder {
  const { records, lock, effects, log } = parts;
  const waiters = new Map<string, (() => void)[]>();
  /** Exits that are not recorded yet. */
  const kept = new Map<string, Exit>();
  let closed = false;

  const settle = (id: string): void => {
    for (const wake of waiters.get(id) ?? []) wake();
    waiters.delete(id);
  };

  const write = async (id: string, exit: Exit): Promise<void> => {
    const record = records.get(id);
    if (record === undefined || record.phase === 'removing') return settle(id);
    if (record.phase !== 'exited') {
      await effects.killLeftovers(record);
      const reported = exitReason(exit, await effects.wasOutOfMemory(record));
      const startedAt =
        record.startedAt === '0' && record.phase !== 'created' ? record.createdAt : record.startedAt;
      await records.put({
        ...record,
        phase: nextContainerPhase(record.phase, 'exited'),
        startedAt,
        finishedAt: later(exit.finishedAt, startedAt),
        exitCode: exit.code,
        ...reported,
      });
    }
    settle(id);
    // Not earlier: until the record is durable, the file on disk is the source of truth.
    await effects.forgetExit(id);
  };
  const attempt = (id: string): Promise<void> =>
    lock(`container ${id}`, async () => {
      const exit = kept.get(id);
      if (exit === undefined) return;
      await write(id, exit);
      kept.delete(id);
    });
  const goOn = (id: string): Promise<void> =>
    untilDone({
      act: () => attempt(id),
      sleep: effects.clock.sleep,
      isOver: () => closed || !kept.has(id),
      failed: (cause) =>
        log.debug({ container: id, cause: reasonOf(cause) }, 'an exit cannot be recorded yet'),
    });

  return {
    record: async (id, exit) => {
      const isFirst = !kept.has(id);
      // The exit that the monitor wrote takes precedence over one from another source.
      if (isFirst || exit.fromMonitor) kept.set(id, exit);
      try {
        await attempt(id);
      } catch (cause) {
        if (isFirst) {
          log.error(
            { container: id, cause: reasonOf(cause) },
            'an exit could not be recorded; the write is repeated until it succeeds',
          );
          void goOn(id);
        }
        throw cause;
      }
    },
    retry: async (id) => {
      if (!kept.has(id)) return false;
      await attempt(id);
      return true;
    },
    exited: (id) =>
      new Promise((resolve) => {
        const record = records.get(id);
        if (record === undefined || record.phase === 'exited' || record.phase === 'removing') resolve();
        else waiters.set(id, [...(waiters.get(id) ?? []), resolve]);
      }),
    settle,
    close: () => {
      closed = true;
    },
  };
}

/**
 * Returns the later of two times. The time of a file, such as an exit file, is up to one kernel clock tick
 * behind.
 */
function later(time: string, other: string): string {
  return BigInt(time) < BigInt(other) ? other : time;
}
