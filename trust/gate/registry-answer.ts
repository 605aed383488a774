import { parseReference } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import type { SignedReference } from '../evidence/signed-reference.ts';
import type { Platform } from '../findings/types.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { resolvePlatforms } from '../registries/resolve-image.ts';
import type { PlatformImage } from '../registries/resolve-image.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import type { TrustServices } from '../tuf-requirement/trust-services.ts';

/** The answers of a registry, and of the trust services that the policy asks, about a reference. */
export interface RegistryAnswer {
  readonly repositories: readonly RegistryRepository[];
  readonly signed: SignedReference | undefined;
  readonly found: readonly PlatformImage[];
}

interface Sources {
  readonly policy: TrustPolicy;
  readonly registry: RegistryAccess;
  readonly services?: TrustServices;
}

/**
 * Resolves a normalised reference once.
 * @throws the errors of trust services and of base/distribution, `TRUST_NO_PLATFORM`
 */
export async function askRegistry(
  reference: string,
  { policy, registry, services }: Sources,
  platforms: readonly Platform[] | 'all',
  signal?: AbortSignal,
): Promise<RegistryAnswer> {
  const parsed = parseReference(reference);
  const repositories = await registry.repositories(parsed);
  const signed = await services?.ask({ policy, reference, ...(signal === undefined ? {} : { signal }) });
  const wanted = parsed.digest ?? signed?.digest ?? parsed.tag ?? 'latest';
  return { repositories, signed, found: await resolvePlatforms(repositories, wanted, platforms, signal) };
}
