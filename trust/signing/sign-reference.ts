import { parseReference } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { signImage } from './sign-image.ts';
import type { SignatureFormat, SignedImage } from './sign-image.ts';
import type { SigningKey } from '../keys/private-key.ts';
import type { Signer } from '../signers/signer.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { resolveAll } from '../registries/resolve-image.ts';

/** The image by its name, the signer and the formats. */
export interface SignReferenceInput {
  readonly reference: string;
  /** A key, or any other signer. */
  readonly key: SigningKey | Signer;
  /** One signature is created in each format. */
  readonly format: SignatureFormat | readonly SignatureFormat[];
  /** Also signs each manifest of an index. */
  readonly recursive: boolean;
  /** The name in the payloads; default: the reference without its tag. */
  readonly identity?: string;
  /** Signed with the digest. */
  readonly annotations?: Readonly<Record<string, string>>;
  /**
   * The signatures are invalid from then on. Only the Notary Project's formats support it; at least one of
   * them must be requested.
   */
  readonly expiry?: Date;
  readonly registry: RegistryAccess;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/**
 * Resolves a reference once and signs its digest, at the origin or, if a mirror replaces the origin, at the
 * mirror.
 * @throws PortcullisError `TRUST_NO_REGISTRY`, and the errors of {@link signImage}
 */
export async function signReference(input: SignReferenceInput): Promise<readonly SignedImage[]> {
  const { reference, registry, format, key, now, recursive, annotations } = input;
  const parsed = parseReference(reference);
  // A push goes to the last place in the list. That is the origin, unless a mirror replaces it.
  const repository = (await registry.repositories(parsed)).at(-1);
  if (repository === undefined) {
    throw new PortcullisError({
      code: 'TRUST_NO_REGISTRY',
      kind: 'invalid',
      attempted: 'sign image',
      on: reference,
      why: 'no registry serves it',
      fix: 'check --registry-mirror',
    });
  }
  const signal = input.signal === undefined ? {} : { signal: input.signal };
  const tagOrDigest = parsed.digest ?? parsed.tag ?? 'latest';
  const digests = recursive
    ? await resolveAll(repository, tagOrDigest, input.signal)
    : [(await repository.resolve(tagOrDigest, input.signal)).digest];
  const identity = input.identity ?? `${parsed.registry}/${parsed.repository}`;
  const formats = typeof format === 'string' ? [format] : format;
  if (input.expiry !== undefined && !formats.some((one) => one.startsWith('notation-'))) {
    throw new PortcullisError({
      code: 'TRUST_FORMAT_UNFIT',
      kind: 'invalid',
      attempted: 'sign image',
      on: reference,
      why: `signatures in the form ${formats.join(' and ')} have no expiry`,
      fix: 'sign with --format notation-jws or notation-cose, or let policies limit the age of signatures (maxAge)',
    });
  }
  const signed: SignedImage[] = [];
  // One after the other: signatures of one image may share a fallback tag, which is read, changed and written
  // back.
  for (const digest of digests) {
    for (const one of new Set(formats)) {
      const notes = {
        ...(annotations === undefined ? {} : { annotations }),
        ...(input.expiry === undefined ? {} : { expiry: input.expiry }),
      };
      signed.push(
        await signImage({ repository, digest, key, format: one, identity, now, ...notes, ...signal }),
      );
    }
  }
  return signed;
}
