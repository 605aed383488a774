import type { Collector, GatheringContext } from '../../evidence/collector.ts';

/** Metadata of trust services: they were asked before the image was, since they say which image it is (`GatherInput.signed`). */
export const tufCollectors: readonly Collector[] = [{ kind: 'tuf-metadata', at: 'elsewhere', elsewhere: addAnswers }];

function addAnswers({ input, collection }: GatheringContext): Promise<void> {
  for (const item of input.signed?.items ?? []) collection.add(item);
  return Promise.resolve();
}
