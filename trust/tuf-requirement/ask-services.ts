import type { Credentials } from '../../base/distribution/index.ts';
import { normaliseReference, ruleNamesImage } from '../requirements/named-images.ts';
import type { SignedAnswer, SignedReference } from '../evidence/signed-reference.ts';
import type { Requirement, TrustPolicy } from '../requirements/types.ts';
import { itemsOf } from './metadata-files.ts';
import type { ServiceAnswer } from './metadata-files.ts';
import { repositoryOf } from './repository.ts';
import type { TufRequirement } from '../requirements/tuf.ts';

export interface ServicesInput {
  readonly policy: TrustPolicy;
  readonly reference: string;
  /** The credentials of the pull, for the reference's registry. No other service receives them. */
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
}

/**
 * Asks every service that a rule for the image requires. Returns undefined when no rule requires one.
 * @param ask asks one service about one reference
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
  // Rules may share a repository, whose files are then evidence once.
  const items = new Map(
    answers
      .flatMap((answer) => answer.items)
      .map((item) => [JSON.stringify([item.annotations, item.blobDigest]), item]),
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
