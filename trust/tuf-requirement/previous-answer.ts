import type { Dossier } from '../findings/types.ts';
import { isUnavailable } from '../tuf/failure.ts';
import type { SignedReference } from '../evidence/signed-reference.ts';

/**
 * Replaces the answers of services that could not be reached by their answers from when the image was
 * admitted before. A policy's `onStale` applies to such images only. Nothing is revoked by this: an answer
 * that a service gives now, or has given since, must name the same image. Whether the answer is still in
 * force is decided as usual.
 */
export function previousAnswer(signed: SignedReference, before: Dossier | undefined): SignedReference {
  const silent = new Set(
    signed.answers.filter(({ refused }) => isUnavailable(refused ?? '')).map(({ repository }) => repository),
  );
  if (before === undefined || silent.size === 0) return signed;
  // An unreachable service without stored metadata contradicts nothing. Every other service must name this
  // digest.
  const agree = signed.answers.every(
    ({ repository, known, digest }) => digest === before.digest || (silent.has(repository) && !known),
  );
  if (!agree) return signed;
  const isOfSilent = (repository: string | undefined): boolean =>
    repository !== undefined && silent.has(repository);
  const former = before.items.filter(
    ({ kind, annotations }) => kind === 'tuf-metadata' && isOfSilent(annotations['repository']),
  );
  const reported = new Set(former.map(({ annotations }) => annotations['repository']));
  if (reported.size < silent.size) return signed;
  const items = [
    ...signed.items.filter(({ annotations }) => !isOfSilent(annotations['repository'])),
    ...former,
  ];
  return { ...signed, digest: before.digest, items };
}
