import { isPortcullisError } from '../../base/errors/index.ts';
import type { ImageStore } from '../images/types.ts';
import type { Renewal } from './renewal.ts';

/** For how long a container waits for an answer that has just ended. */
const patienceMilliseconds = 2000;

/** The store, which renews evidence whose time is over before it leaves a container undecided. Only an admitting verdict gets through, as before. */
export function renewForRun<Store extends ImageStore>(images: Store, renewal: () => Pick<Renewal, 'tryNow' | 'request'>): Store {
  return {
    ...images,
    pull: async (request) => {
      const pulled = await images.pull(request);
      // Its evidence may end soon.
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
