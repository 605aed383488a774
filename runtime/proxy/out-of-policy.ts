import { setTimeout as pause } from 'node:timers/promises';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { JudgedImage } from '../images/types.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import type { ProxyImages } from './images.ts';
import { imagesOf } from './records.ts';
import type { ProxyContainer, ProxyRecords } from './records.ts';

/** In ms, after each decision: calls of a kubelet go first. */
const pauseMs = 5;

/**
 * Decides again about the containers whenever another policy is in force, and logs those that it would not
 * admit. Stops none.
 * @returns the function that ends this
 */
export function reportOutOfPolicy(
  policy: Pick<PolicyHolder, 'onChange'>,
  images: Pick<ProxyImages, 'judge'>,
  { containers }: Pick<ProxyRecords, 'containers'>,
  log: Logger,
): () => Promise<void> {
  let running = Promise.resolve();
  let round = 0;
  const report = async ({ id, namespace }: ProxyContainer, image: JudgedImage): Promise<void> => {
    try {
      const verdicts = await images.judge(image);
      const refused = verdicts.find(({ outcome }) => outcome !== 'admit');
      if (refused !== undefined)
        log.warn(
          { container: id, image: image.imageId, namespace, verdict: refused.id, outcome: refused.outcome },
          'the policy in force would not admit the image of this container',
        );
    } catch (thrown) {
      log.error(
        { container: id, cause: reasonOf(thrown) },
        'the decision about a container could not be repeated',
      );
    }
  };
  const walk = async (own: number): Promise<void> => {
    for (const container of containers.list())
      for (const image of imagesOf(container)) {
        if (own !== round) return;
        await report(container, image);
        await pause(pauseMs);
      }
  };
  const unsubscribe = policy.onChange(() => {
    const own = (round += 1);
    running = running.then(() => walk(own));
  });
  return () => {
    unsubscribe();
    round += 1;
    return running;
  };
}
