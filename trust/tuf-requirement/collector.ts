import { attempt } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import type { Collector, FactsStanding, GatheringContext, RenewableFacts } from '../evidence/collector.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { Dialect, TopRole } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import { filesIn } from './metadata-files.ts';
import { repositoryOf } from './repository.ts';
import type { TufRequirement } from '../requirements/tuf.ts';

/**
 * An answer remains in force until its metadata expires, or until the policy requires the service to be asked
 * again.
 */
const renewable: RenewableFacts = {
  kinds: ['tuf-metadata'],
  keyOf: ({ annotations }) => JSON.stringify([annotations['repository'], annotations['file']]),
  standing: (context) =>
    context.wanted.flatMap((one) => (one.kind === 'tuf' ? [standingOf(one, context)] : [])),
  // Metadata from different updates must not be mixed.
  supersedes: (item, fresh) =>
    fresh.some(
      ({ annotations }) =>
        annotations['repository'] === item.annotations['repository'] && annotations['file'] === 'timestamp',
    ),
  // The earlier answer of the service remains in force for as long as it would otherwise. A current fault of
  // the service is refused when the service is asked about the image.
  idle: (item, old) =>
    item.annotations['refused'] !== undefined &&
    old.some((one) => isTimestamp(one) && repositoryIn(one) === repositoryIn(item)),
  news: (old, fresh) => {
    const refused = new Set(
      fresh.filter(({ annotations }) => annotations['refused'] !== undefined).map(repositoryIn),
    );
    // Versions only increase; the component that asked the service has verified that.
    return fresh.some(
      (item) =>
        isTimestamp(item) && !refused.has(repositoryIn(item)) && !old.some((one) => isSameFile(one, item)),
    );
  },
};

const repositoryIn = ({ annotations }: EvidenceItem): string | undefined => annotations['repository'];

const isTimestamp = ({ kind, annotations }: EvidenceItem): boolean =>
  kind === 'tuf-metadata' && annotations['file'] === 'timestamp';

const isSameFile = (one: EvidenceItem, other: EvidenceItem): boolean =>
  isTimestamp(one) && repositoryIn(one) === repositoryIn(other) && one.blobDigest === other.blobDigest;

/**
 * Collects the metadata of trust services. They were asked before the image was fetched, because they
 * determine which image it is (`GatherInput.signed`).
 */
export const tufCollectors: readonly Collector[] = [
  { kind: 'tuf-metadata', at: 'elsewhere', complete: addAnswers, renewable },
];

function addAnswers({ input, collection }: GatheringContext): Promise<void> {
  if (collection.items().some(({ kind }) => kind === 'tuf-metadata')) return Promise.resolve();
  for (const item of input.signed?.items ?? []) collection.add(item);
  return Promise.resolve();
}

function standingOf(requirement: TufRequirement, { input, collection }: GatheringContext): FactsStanding {
  const { files, checkedAt } = filesIn(
    collection.items(),
    repositoryOf(requirement, normaliseReference(input.reference)),
  );
  // Files stored separately are large, and usually expire after the others. Where they do not, the verdict
  // has said so.
  const ends = [...files].flatMap(([name, bytes]) => endOf(requirement.dialect, name, bytes));
  if (Number.isNaN(checkedAt) || ends.length === 0) return { status: 'missing' };
  const aged = requirement.maxAge === undefined ? [] : [checkedAt + requirement.maxAge * 1000];
  const until = Math.min(smallest(ends), smallest(aged));
  return input.now.getTime() < until ? { status: 'good', until } : { status: 'missing' };
}

/**
 * Returns when a file expires. The expiry of the newest root is covered by the timestamp signed under it, so
 * only roles that expire soon are considered.
 */
function endOf(dialect: Dialect, name: string, bytes: Buffer): number[] {
  if (name.endsWith('.root')) return [];
  const type: TopRole = name === 'timestamp' || name === 'snapshot' ? name : 'targets';
  return attempt(() => [readMetadata(dialect, type, bytes).signed.expires]) ?? [];
}
