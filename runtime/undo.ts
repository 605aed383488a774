import { setTimeout as pause } from 'node:timers/promises';
import { reasonOf } from '../base/errors/index.ts';
import { createLogger } from '../base/log/index.ts';
import type { Logger, LogLevel } from '../base/log/index.ts';

/** What a start made that would stay when it fails, in the order in which it was made. */
export type Undo = (() => Promise<void>)[];

/** The reason of the failure waits for it. */
const patienceMs = 10_000;

/**
 * Runs a start. One that fails takes back what it made, the last first, and then throws why; what cannot be taken back within some seconds is left to the next
 * start, which takes over what it finds.
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
      log.warn({ why: reasonOf(thrown) }, 'what a failed start made could not be taken back; the next start does'),
    );
}
