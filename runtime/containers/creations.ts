import type { KeyedQueue } from '../../base/queues/index.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { podIsStopped } from './errors.ts';

/** The creations of containers that wait or are in progress. */
export interface Creations {
  /** Runs one under the lock of the pod. @param create gets the signal that ends it @throws its error */
  run<T>(sandbox: SandboxRecord, create: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Ends all creations in a pod that is being stopped. */
  endAllOf(sandbox: SandboxRecord): void;
}

/** Tracks the creations of all pods. @param lock the lock of pods */
export function trackCreations(lock: KeyedQueue['run']): Creations {
  const byPod = new Map<string, Set<AbortController>>();
  return {
    run: async ({ id }, create) => {
      const mine = new AbortController();
      const ofPod = byPod.get(id) ?? new Set();
      byPod.set(id, ofPod.add(mine));
      try {
        return await lock(`sandbox ${id}`, () => create(mine.signal));
      } finally {
        ofPod.delete(mine);
        if (ofPod.size === 0) byPod.delete(id);
      }
    },
    endAllOf: (sandbox) => {
      for (const creation of byPod.get(sandbox.id) ?? []) creation.abort(podIsStopped(sandbox));
    },
  };
}
