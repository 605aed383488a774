import { isPortcullisError } from '../../base/errors/index.ts';
import type { ImageStore } from '../images/types.ts';
import type { Renewal } from './renewal.ts';

/** How long a container waits for the renewal of an answer that has just expired. */
const patienceMilliseconds = 2000;

/**
 * Wraps the store: renews expired evidence before it leaves a container undecided. As before, only an
 * admitting verdict is returned.
 */
export function renewForRun<Store extends ImageStore>(
  images: Store,
  renewal: () => Pick<Renewal, 'tryNow' | 'request'>,
): Store {
  return {
    ...images,
    pull: async (request) => {
      const pulled = await images.pull(request);
      // Its evidence may expire soon.
      renewal().request();
      return pulled;
    },
    decideForRun: async (input) => {
      try {
        return await images.decideForRun(input);
      } catch (thrown) {
        const undecided = isPortcullisError(thrown) && thrown.code === 'IMAGES_UNDECIDED';
        if (!undecided || !(await renewal().tryNow(input.image.id, patienceMilliseconds))) throw thrown;
        return images.decideForRun(input);
      }
    },
  };
}
