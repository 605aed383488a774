import type { Dossier } from '../../types.ts';
import { isUnavailable } from '../failure.ts';
import type { SignedReference } from './ask-services.ts';

/**
 * Where a service could not be asked, what it said when the image was admitted before, if that is the same image: a policy's `onStale` is about
 * such images alone. Whether it still holds is decided as ever.
 */
export function previousAnswer(signed: SignedReference, before: Dossier | undefined): SignedReference {
  if (before === undefined || !signed.items.some(({ annotations }) => isUnavailable(annotations['refused'] ?? ''))) return signed;
  if (signed.digest !== undefined && signed.digest !== before.digest) return signed;
  const items = before.items.filter(({ kind }) => kind === 'tuf-metadata');
  return items.length === 0 ? signed : { digest: before.digest, items };
}
