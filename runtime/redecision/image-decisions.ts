import type { Logger } from '../../base/log/index.ts';
import { refusingRule } from '../images/index.ts';
import type { ImageStore } from '../images/types.ts';

/** The latest decisions about recorded images. */
export interface ImageDecisions {
  /** Decides again about an image, and logs it when it leaves the policy. */
  decide(id: string): Promise<void>;
  /** Returns the number of images out of policy. */
  count(): number;
}

export function createImageDecisions(
  images: Pick<ImageStore, 'find' | 'judge'>,
  log: Logger,
): ImageDecisions {
  const outOfPolicy = new Set<string>();
  return {
    async decide(id) {
      const record = images.find(id);
      if (record === undefined) return void outOfPolicy.delete(id);
      const verdicts = await images.judge({ imageId: id, verdictId: record.verdictId, userSpecified: '' });
      const refused = verdicts.find(({ outcome }) => outcome !== 'admit');
      if (refused === undefined && verdicts.length > 0) return void outOfPolicy.delete(id);
      if (outOfPolicy.has(id)) return;
      outOfPolicy.add(id);
      log.info(
        {
          image: id,
          reference: refused?.reference,
          verdict: refused?.id,
          rule: refused && refusingRule(refused.reasons),
        },
        'a recorded image is out of policy',
      );
    },
    count: () => outOfPolicy.size,
  };
}
