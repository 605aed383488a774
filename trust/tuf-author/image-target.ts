import { parseReference } from '../../base/distribution/index.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import type { TargetFile } from '../tuf-metadata/model.ts';
import { authorFailure } from './failure.ts';

/**
 * Returns the current image as a target: the digest and size of its index or manifest.
 * @throws TRUST_AUTHOR_DESTINATION · TRUST_AUTHOR_NO_TARGET, and the errors of base/distribution
 */
export async function imageTarget(registries: RegistryAccess, text: string): Promise<TargetFile> {
  const reference = parseReference(text);
  const repository = (await registries.repositories(reference)).at(-1);
  if (repository === undefined)
    throw authorFailure('TRUST_AUTHOR_DESTINATION', text, 'no registry serves it');
  const { bytes, digest } = await repository.manifest(reference.digest ?? reference.tag ?? 'latest');
  if (!digest.startsWith('sha256:'))
    throw authorFailure('TRUST_AUTHOR_NO_TARGET', text, `its digest is ${digest}, and only sha256 is signed`);
  return { length: bytes.length, hashes: { sha256: digest.slice('sha256:'.length) }, custom: undefined };
}
