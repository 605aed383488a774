import { setTimeout as pause } from 'node:timers/promises';
import { reasonOf } from '../base/errors/index.ts';
import { createLogger } from '../base/log/index.ts';
import type { Logger, LogLevel } from '../base/log/index.ts';

/**
 * Functions that undo work of a start, in the order of the work, for work that would stay if the start fails.
 */
export type Undo = (() => Promise<void>)[];

/** Limit for the undo, in ms: the error of the failed start is reported only afterwards. */
const patienceMs = 10_000;

/**
 * Runs a start. If it fails, calls the undo functions, the last one first, and then throws the error. Work
 * that cannot be undone within some seconds is left to the next start, which takes over what it finds.
 */
export async function orUndo<T>(level: LogLevel, start: (undo: Undo) => Promise<T>): Promise<T> {
  const undo: Undo = [];
  try {
    return await start(undo);
  } catch (thrown) {
    await Promise.race([undoAll(undo, createLogger({ level })), pause(patienceMs)]);
    throw thrown;
  }
}

async function undoAll(undo: Undo, log: Pick<Logger, 'warn'>): Promise<void> {
  for (const act of undo.toReversed())
    await act().catch((thrown: unknown) =>
      log.warn(
        { why: reasonOf(thrown) },
        'resources of a failed start could not be removed; the next start removes them',
      ),
    );
}
