import { wrapImageError } from './limits/failures.ts';
import { orAborted } from './serial.ts';
import type { ImageStore } from './types.ts';

/**
 * Returns the image store, with at most `most` pulls at a time; 0: no limit. Further pulls wait in the order in which they came. A
 * pull that is cancelled while it waits fails at once with IMAGES_CANCELLED.
 */
export function withPullTurns<Store extends Pick<ImageStore, 'pull'>>(images: Store, most: number): Store {
  if (most === 0) return images;
  const waiting = new Set<() => void>();
  let running = 0;

  const leave = (): void => {
    const [next] = waiting;
    if (next === undefined) {
      running -= 1;
      return;
    }
    // The turn passes to the next pull: the number of running pulls stays the same.
    waiting.delete(next);
    next();
  };
  const enter = async (signal: AbortSignal | undefined): Promise<void> => {
    if (running < most) {
      running += 1;
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.add(resolve);
    try {
      await orAborted(promise, signal);
    } catch (thrown) {
      // The turn may have come together with the cancellation.
      if (!waiting.delete(resolve)) leave();
      throw thrown;
    }
  };

  return {
    ...images,
    pull: async (request) => {
      await enter(request.signal).catch((thrown: unknown) => {
        throw wrapImageError(thrown, {
          code: 'IMAGES_CANCELLED',
          kind: 'cancelled',
          attempted: 'pull image',
          on: request.reference.slice(0, 300),
          fix: 'pull again; other pulls had their turn first (images.maxParallelPulls)',
        });
      });
      try {
        return await images.pull(request);
      } finally {
        leave();
      }
    },
  };
}
