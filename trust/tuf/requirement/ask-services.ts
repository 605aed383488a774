import type { Credentials } from '../../../base/distribution/index.ts';
import { normaliseReference, ruleNamesImage } from '../../policy/matching.ts';
import type { EvidenceItem, Requirement, TrustPolicy } from '../../types.ts';
import { itemsOf } from './metadata-files.ts';
import type { ServiceAnswer } from './metadata-files.ts';
import { repositoryOf } from './repository.ts';
import type { TufRequirement } from './requirement.ts';

/** What trust services say of a reference at one moment: evidence, and the digest to pull. */
export interface SignedReference {
  /** The digest that the reference is signed with now; undefined when none is, or it is not known. A registry's tag is then not believed either. */
  readonly digest?: string;
  readonly items: readonly EvidenceItem[];
  /** One for each service that was asked. */
  readonly answers: readonly SignedAnswer[];
}

/** What one service said. */
export interface SignedAnswer {
  /** As the items' annotation `repository` has it. */
  readonly repository: string;
  readonly digest?: string;
  /** Its metadata are at hand, from now or from before. */
  readonly known: boolean;
  /** Code of why it was not believed, or could not be asked. */
  readonly refused?: string;
}

export interface ServicesInput {
  readonly policy: TrustPolicy;
  readonly reference: string;
  /** Of the pull, for the reference's registry: they go to nobody else. */
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
}

/**
 * Asks every service that a rule for the image requires; undefined when none does.
 * @param ask one service about one reference
 */
export async function askServices(
  ask: (requirement: TufRequirement, reference: string, credentials?: Credentials) => Promise<ServiceAnswer>,
  { policy, reference: text, credentials, signal }: ServicesInput,
): Promise<SignedReference | undefined> {
  const reference = normaliseReference(text);
  const rules = policy.rules.filter((rule) => ruleNamesImage(rule, reference));
  const requirements = rules.flatMap(({ require }) => (require === undefined ? [] : tufOf(require)));
  if (requirements.length === 0) return undefined;
  const asking = Promise.all(
    requirements.map(async (requirement) => {
      const answer = await ask(requirement, reference.text, credentials);
      const repository = repositoryOf(requirement, reference);
      return { ...outcomeOf(repository.key, answer), items: itemsOf(requirement, repository, answer) };
    }),
  );
  const answers = await (signal === undefined ? asking : Promise.race([asking, aborted(signal)]));
  // Rules may share a repository: its files are evidence once.
  const items = new Map(
    answers.flatMap((answer) => answer.items).map((item) => [JSON.stringify([item.annotations, item.blobDigest]), item]),
  );
  const digest = answers.every((answer) => answer.digest !== undefined) ? answers[0]?.digest : undefined;
  return {
    items: [...items.values()],
    answers: answers.map(({ items: _items, ...answer }) => answer),
    ...(digest === undefined ? {} : { digest }),
  };
}

function outcomeOf(repository: string, { digest, files, refused }: ServiceAnswer): SignedAnswer {
  return {
    repository,
    known: files.length > 0,
    ...(digest === undefined ? {} : { digest }),
    ...(refused === undefined ? {} : { refused: refused.code }),
  };
}

function tufOf(requirement: Requirement): readonly TufRequirement[] {
  if ('of' in requirement) return requirement.of.flatMap(tufOf);
  return requirement.kind === 'tuf' ? [requirement] : [];
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    if (signal.aborted) reject(signal.reason as Error);
  });
}
