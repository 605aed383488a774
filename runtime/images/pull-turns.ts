import { wrapImageError } from './limits/failures.ts';
import { createTurns } from './turns.ts';
import type { ImageStore } from './types.ts';

/**
 * Returns the image store, with at most `most` pulls at a time; 0: no limit. Further pulls wait in the order
 * in which they came. A pull that is cancelled while it waits fails at once with IMAGES_CANCELLED.
 */
export function withPullTurns<Store extends Pick<ImageStore, 'pull'>>(images: Store, most: number): Store {
  if (most === 0) return images;
  const turns = createTurns(most);
  return {
    ...images,
    pull: async (request) => {
      await turns.enter(request.signal).catch((thrown: unknown) => {
        throw wrapImageError(thrown, {
          code: 'IMAGES_CANCELLED',
          kind: 'cancelled',
          attempted: 'pull image',
          on: request.reference.slice(0, 300),
          fix: 'pull again; the pull waited for other pulls (images.maxParallelPulls)',
        });
      });
      try {
        return await images.pull(request);
      } finally {
        turns.leave();
      }
    },
  };
}
