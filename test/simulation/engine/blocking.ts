import { isPortcullisError } from '../../../base/errors/index.ts';
import type { EffectKind } from './faults.ts';
import { Gone } from './incarnation.ts';
import type { Incarnation } from './incarnation.ts';
import { thread } from './thread.ts';

/** Runs a call of a thread, which blocks it. @param failure makes the caller's error from an errno */
export function blocking<T>(
  life: Incarnation,
  kind: EffectKind,
  name: string,
  failure: (errno: string) => unknown,
  body: () => T,
): T {
  if (thread.getStore()?.hasEnded === true) throw new Gone('the thread has ended');
  try {
    return life.now(kind, name, body);
  } catch (cause) {
    if (!isPortcullisError(cause) || cause.code !== 'SIMULATED_FAULT') throw cause;
    throw failure(String(cause.failure.details?.['errno']));
  }
}
