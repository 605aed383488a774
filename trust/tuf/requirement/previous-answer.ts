import type { Dossier } from '../../types.ts';
import { isUnavailable } from '../failure.ts';
import type { SignedReference } from './ask-services.ts';

/**
 * Where services could not be asked, what they said when the image was admitted before: a policy's `onStale` is about such images alone.
 * Nothing is taken back: what a service says now, or has said since, must be that it is the same image. Whether it still holds is decided
 * as ever.
 */
export function previousAnswer(signed: SignedReference, before: Dossier | undefined): SignedReference {
  const silent = new Set(signed.answers.filter(({ refused }) => isUnavailable(refused ?? '')).map(({ repository }) => repository));
  if (before === undefined || silent.size === 0) return signed;
  // A silent service of which nothing is kept contradicts nothing; any other has this digest, or speaks against it.
  const agree = signed.answers.every(({ repository, known, digest }) => digest === before.digest || (silent.has(repository) && !known));
  if (!agree) return signed;
  const isOfSilent = (repository: string | undefined): boolean => repository !== undefined && silent.has(repository);
  const former = before.items.filter(({ kind, annotations }) => kind === 'tuf-metadata' && isOfSilent(annotations['repository']));
  const told = new Set(former.map(({ annotations }) => annotations['repository']));
  if (told.size < silent.size) return signed;
  const items = [...signed.items.filter(({ annotations }) => !isOfSilent(annotations['repository'])), ...former];
  return { ...signed, digest: before.digest, items };
}
