import { parseDockerReference } from './docker-reference.ts';
import type { DockerReference } from './docker-reference.ts';

/**
 * How the name in a signature must relate to the name of the image: `signedIdentity` of
 * containers-policy.json(5), with the same values. Simple signing (of GPG, and the older form of cosign)
 * carries such a name.
 */
export type SignedIdentity =
  | { readonly type: 'matchExact' | 'matchRepoDigestOrExact' | 'matchRepository' }
  | { readonly type: 'exactReference'; readonly dockerReference: string }
  | { readonly type: 'exactRepository'; readonly dockerRepository: string }
  | { readonly type: 'remapIdentity'; readonly prefix: string; readonly signedPrefix: string };

/** The identity that applies when a policy names none. */
export const defaultSignedIdentity: SignedIdentity = { type: 'matchRepoDigestOrExact' };

/**
 * Whether a signature that claims `claimed` is accepted for the image `reference`, as the containers image
 * library decides (signature/policy_reference_match.go). A reference with both tag and digest counts as one
 * with the digest alone, as podman and CRI-O read it before they ask. Pure. A name that cannot be read does
 * not match.
 * @param reference the normalised name by which the image was requested
 */
export function signedIdentityMatches(identity: SignedIdentity, reference: string, claimed: string): boolean {
  const signature = parseDockerReference(claimed);
  const intended = intendedReference(reference);
  if (signature === undefined) return false;
  switch (identity.type) {
    case 'matchExact':
      return intended !== undefined && same(intended, signature);
    case 'matchRepoDigestOrExact':
      return intended !== undefined && matchesRepoDigestOrExact(intended, signature);
    case 'matchRepository':
      return intended !== undefined && intended.name === signature.name;
    case 'exactReference': {
      const exact = parseDockerReference(identity.dockerReference);
      return exact !== undefined && same(exact, signature);
    }
    case 'exactRepository':
      return parseDockerReference(identity.dockerRepository)?.name === signature.name;
    case 'remapIdentity': {
      const remapped =
        intended === undefined ? undefined : remap(intended, identity.prefix, identity.signedPrefix);
      return remapped !== undefined && matchesRepoDigestOrExact(remapped, signature);
    }
  }
}

/** Describes the identity in words that follow "it must be made for", such as "the name of the image". */
export function describeSignedIdentity(identity: SignedIdentity, reference: string): string {
  switch (identity.type) {
    case 'matchExact':
      return `exactly ${reference} (matchExact)`;
    case 'matchRepoDigestOrExact':
      return `${reference}, or for its repository if the image is requested by digest (matchRepoDigestOrExact)`;
    case 'matchRepository':
      return `the repository of ${reference} (matchRepository)`;
    case 'exactReference':
      return `exactly ${identity.dockerReference} (exactReference)`;
    case 'exactRepository':
      return `the repository ${identity.dockerRepository} (exactRepository)`;
    case 'remapIdentity':
      return `${reference} with ${identity.prefix} read as ${identity.signedPrefix} (remapIdentity)`;
  }
}

function intendedReference(reference: string): DockerReference | undefined {
  const parsed = parseDockerReference(reference);
  if (parsed?.digest === undefined || parsed.tag === undefined) return parsed;
  return { name: parsed.name, digest: parsed.digest, text: `${parsed.name}@${parsed.digest}` };
}

function nameOnly(reference: DockerReference): boolean {
  return reference.tag === undefined && reference.digest === undefined;
}

function same(intended: DockerReference, signature: DockerReference): boolean {
  return !nameOnly(intended) && !nameOnly(signature) && intended.text === signature.text;
}

function matchesRepoDigestOrExact(intended: DockerReference, signature: DockerReference): boolean {
  if (nameOnly(signature)) return false;
  if (intended.tag !== undefined) return intended.text === signature.text;
  // Only the names are compared here: the digest is checked together with the digest of the signature.
  return intended.digest !== undefined && intended.name === signature.name;
}

function remap(intended: DockerReference, prefix: string, signedPrefix: string): DockerReference | undefined {
  const { name } = intended;
  if (name !== prefix && !name.startsWith(`${prefix}/`)) return intended;
  const text = `${signedPrefix}${intended.text.slice(prefix.length)}`;
  const remapped = parseDockerReference(text);
  // A short name would be completed, so that the compared name would differ from the written one.
  return remapped?.text === text ? remapped : undefined;
}

/** The fields of each type of identity (containers-policy.json(5), signedIdentity). */
export const identityFields: Readonly<Record<SignedIdentity['type'], readonly string[]>> = {
  matchExact: [],
  matchRepoDigestOrExact: [],
  matchRepository: [],
  exactReference: ['dockerReference'],
  exactRepository: ['dockerRepository'],
  remapIdentity: ['prefix', 'signedPrefix'],
};
