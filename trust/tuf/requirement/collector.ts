import { smallest } from '../../../base/lists/index.ts';
import type { Collector, FactsStanding, GatheringContext, RenewableFacts } from '../../evidence/collector.ts';
import { normaliseReference } from '../../policy/matching.ts';
import type { EvidenceItem } from '../../types.ts';
import type { Dialect, TopRole } from '../metadata/model.ts';
import { readMetadata } from '../metadata/read.ts';
import { filesIn } from './metadata-files.ts';
import { repositoryOf } from './repository.ts';
import type { TufRequirement } from './requirement.ts';

/** What was said holds until its metadata end, or the policy wants the service to be asked again. */
const renewable: RenewableFacts = {
  kinds: ['tuf-metadata'],
  keyOf: ({ annotations }) => JSON.stringify([annotations['repository'], annotations['file']]),
  standing: (context) => context.wanted.flatMap((one) => (one.kind === 'tuf' ? [standingOf(one, context)] : [])),
  // Metadata of different moments do not belong together.
  supersedes: (item, fresh) =>
    fresh.some(({ annotations }) => annotations['repository'] === item.annotations['repository'] && annotations['file'] === 'timestamp'),
  // What it said before holds as long as it would; what it does wrong now is refused when it is asked for the image.
  idle: (item, old) =>
    item.annotations['refused'] !== undefined && old.some((one) => isTimestamp(one) && repositoryIn(one) === repositoryIn(item)),
  news: (old, fresh) => {
    const refused = new Set(fresh.filter(({ annotations }) => annotations['refused'] !== undefined).map(repositoryIn));
    // Versions only grow: whoever was asked has seen to that.
    return fresh.some((item) => isTimestamp(item) && !refused.has(repositoryIn(item)) && !old.some((one) => isSameFile(one, item)));
  },
};

const repositoryIn = ({ annotations }: EvidenceItem): string | undefined => annotations['repository'];

const isTimestamp = ({ kind, annotations }: EvidenceItem): boolean => kind === 'tuf-metadata' && annotations['file'] === 'timestamp';

const isSameFile = (one: EvidenceItem, other: EvidenceItem): boolean =>
  isTimestamp(one) && repositoryIn(one) === repositoryIn(other) && one.blobDigest === other.blobDigest;

/** Metadata of trust services: they were asked before the image was, since they say which image it is (`GatherInput.signed`). */
export const tufCollectors: readonly Collector[] = [{ kind: 'tuf-metadata', at: 'elsewhere', complete: addAnswers, renewable }];

function addAnswers({ input, collection }: GatheringContext): Promise<void> {
  if (collection.items().some(({ kind }) => kind === 'tuf-metadata')) return Promise.resolve();
  for (const item of input.signed?.items ?? []) collection.add(item);
  return Promise.resolve();
}

function standingOf(requirement: TufRequirement, { input, collection }: GatheringContext): FactsStanding {
  const { files, checkedAt } = filesIn(collection.items(), repositoryOf(requirement, normaliseReference(input.reference)));
  // What is kept apart is large, and ends later than the rest as a rule; where it does not, the verdict has said so.
  const ends = [...files].flatMap(([name, bytes]) => endOf(requirement.dialect, name, bytes));
  if (Number.isNaN(checkedAt) || ends.length === 0) return { status: 'missing' };
  const aged = requirement.maxAge === undefined ? [] : [checkedAt + requirement.maxAge * 1000];
  const until = Math.min(smallest(ends), smallest(aged));
  return input.now.getTime() < until ? { status: 'good', until } : { status: 'missing' };
}

/** Of the newest root is said by the timestamp that it stands under: only roles that end soon are looked at. */
function endOf(dialect: Dialect, name: string, bytes: Buffer): number[] {
  if (name.endsWith('.root')) return [];
  const type: TopRole = name === 'timestamp' || name === 'snapshot' ? name : 'targets';
  try {
    return [readMetadata(dialect, type, bytes).signed.expires];
  } catch {
    return [];
  }
}
