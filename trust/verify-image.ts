import { parseReference } from '../base/distribution/index.ts';
import { gather } from './gathering/gather.ts';
import type { RegistryAccess } from './registries/registry-access.ts';
import { hostPlatform, resolvePlatforms } from './registries/resolve-image.ts';
import type { TrustServices } from './tuf-requirement/trust-services.ts';
import type { Dossier, Platform, Verdict } from './findings/types.ts';
import type { TrustPolicy } from './requirements/types.ts';
import { decide } from './verdict/decide.ts';
import { decideUnseen } from './verdict/decide-unseen.ts';
import { strictestOf } from './verdict/strictest.ts';
import type { JudgedManifest } from './verdict/strictest.ts';

/** Which image to judge, for which namespace and platform, and by which policy. */
export interface VerifyImageInput {
  readonly reference: string;
  /**
   * The digest of an image that is already available, for example in an archive. It is judged under the
   * reference, whatever the reference resolves to.
   */
  readonly digest?: string;
  /** Gathers the evidence of every manifest, also after one was denied. */
  readonly everyManifest?: true;
  /** Asks no service except the registry. */
  readonly offline?: true;
  /** Empty when there is no namespace: rules with `namespaces` then do not match. */
  readonly namespace: string;
  readonly policy: TrustPolicy;
  readonly registry: RegistryAccess;
  /** The services that are asked for the meaning of a tag, where a rule requires it. */
  readonly services?: TrustServices;
  /** Default: the platform of this machine. */
  readonly platform?: Platform;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/** The verdict on an image. */
export interface VerifiedImage {
  readonly verdict: Verdict;
  /** The evidence of the manifest that the verdict is about. */
  readonly dossier?: Dossier;
  /** The evidence of the other manifests that were judged. */
  readonly others?: readonly Dossier[];
  /**
   * The manifests that container runtimes select for the platform: one, except in an index where runtimes
   * select different ones. Absent when no registry was asked.
   */
  readonly manifests?: readonly string[];
}

/**
 * Resolves a reference, gathers its evidence and decides. If container runtimes select different manifests of
 * an index, each of them must be admitted: otherwise the verdict is the one on the first that is denied, or
 * else undecided. A reference that no rule can admit is refused without asking any registry; there is then no
 * dossier.
 * @throws PortcullisError of base/distribution when the image itself cannot be resolved
 */
export async function verifyImage(input: VerifyImageInput): Promise<VerifiedImage> {
  const { reference, namespace, policy, now } = input;
  const platform = input.platform ?? hostPlatform();
  const unseen = decideUnseen({ reference, namespace, platform, policy, now });
  if (unseen !== undefined) return { verdict: unseen };
  const signal = input.signal === undefined ? {} : { signal: input.signal };
  const parsed = parseReference(reference);
  const repositories = await input.registry.repositories(parsed);
  const signed = await input.services?.ask({ policy, reference, ...signal });
  const wanted = input.digest ?? parsed.digest ?? signed?.digest ?? parsed.tag ?? 'latest';
  const images = await resolvePlatforms(repositories, wanted, [platform], input.signal);
  const answered = {
    ...(signed === undefined ? {} : { signed }),
    ...(input.offline === undefined ? {} : { offline: input.offline }),
  };
  const manifests = images.map(({ manifestDigest }) => manifestDigest);
  const judged: JudgedManifest[] = [];
  for (const { digest, manifestDigest } of images) {
    const dossier = await gather({
      ...{ reference, digest, manifestDigest, repositories, policy, now },
      ...answered,
      ...signal,
    });
    judged.push({ verdict: decide({ dossier, reference, namespace, platform, policy, now }), dossier });
    if (judged.at(-1)?.verdict.outcome === 'deny' && input.everyManifest === undefined) break;
  }
  return { ...strictestOf(judged), manifests };
}
