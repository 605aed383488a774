import { parseReference } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { signImage } from './sign-image.ts';
import type { SignatureFormat, SignedImage } from './sign-image.ts';
import type { SigningKey } from '../keys/private-key.ts';
import type { Signer } from './signer.ts';
import type { RegistryAccess } from '../registry-access.ts';
import { resolveAll } from '../resolve-image.ts';

/** Which image is signed by its name, by whom, and in which forms. */
export interface SignReferenceInput {
  readonly reference: string;
  /** A key, or anything else that signs. */
  readonly key: SigningKey | Signer;
  /** One signature in each. */
  readonly format: SignatureFormat | readonly SignatureFormat[];
  /** Signs each manifest of an index too. */
  readonly recursive: boolean;
  /** The name that payloads claim; the reference's own without its tag unless given. */
  readonly identity?: string;
  /** Signed with the digest. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** The signatures are void from then on. Only the Notary Project's formats can say it; one of them must be asked for. */
  readonly expiry?: Date;
  readonly registry: RegistryAccess;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/**
 * Resolves a reference once and signs its digest, at the origin or, where that is replaced, its mirror.
 * @throws PortcullisError `TRUST_NO_REGISTRY`, and those of {@link signImage}
 */
export async function signReference(input: SignReferenceInput): Promise<readonly SignedImage[]> {
  const { reference, registry, format, key, now, recursive, annotations } = input;
  const parsed = parseReference(reference);
  // Pushes go to the last of the places that are asked: the origin, unless a mirror stands for it.
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
      fix: 'sign with --format notation-jws or notation-cose, or let policies bound the age of signatures (maxAge)',
    });
  }
  const signed: SignedImage[] = [];
  // One after the other: signatures of one image may share a fallback tag, which is read, changed and written back.
  for (const digest of digests) {
    for (const one of new Set(formats)) {
      const notes = {
        ...(annotations === undefined ? {} : { annotations }),
        ...(input.expiry === undefined ? {} : { expiry: input.expiry }),
      };
      signed.push(await signImage({ repository, digest, key, format: one, identity, now, ...notes, ...signal }));
    }
  }
  return signed;
}
