import { parseJson } from '../../base/json/index.ts';
import type { Root, TufKey } from '../tuf-metadata/model.ts';
import { certificatesOfPem, commonNameOf } from '../x509/pem.ts';

/**
 * Returns the keys of a Notary root's own role that count. Each must be a certificate, the first in its PEM,
 * that is not an authority and is issued to the collection (trustpinning/certs.go of Notary 0.7.0:
 * ValidateRoot, validRootLeafCerts).
 * @param now milliseconds since 1970; undefined when expiry does not matter: a root that was trusted still
 * judges its successor
 */
export function rootKeysFor(
  gun: string,
  { roles, keys }: Root,
  bytes: Buffer,
  now: number | undefined,
): ReadonlyMap<string, TufKey> {
  const listed = (
    parseJson(bytes.toString('utf8')) as {
      signed: { keys: Record<string, { keytype: string; keyval: { public: string } }> };
    }
  ).signed.keys;
  const found = new Map<string, TufKey>();
  for (const id of roles.root.keyids) {
    const [key, entry] = [keys.get(id), listed[id]];
    if (
      key !== undefined &&
      entry?.keytype.endsWith('-x509') === true &&
      isLeafOf(gun, Buffer.from(entry.keyval.public, 'base64'), now)
    )
      found.set(id, key);
  }
  return found;
}

function isLeafOf(gun: string, pem: Buffer, now: number | undefined): boolean {
  try {
    const [leaf, ...others] = certificatesOfPem(pem);
    if (leaf === undefined || leaf.isAuthority || others.some(({ isAuthority }) => !isAuthority))
      return false;
    if (!matches(commonNameOf(leaf), gun)) return false;
    if (now !== undefined && leaf.notAfter < now) return false;
    // SHA-1 and other weak algorithms do not count.
    return leaf.signatureAlgorithm !== undefined;
  } catch {
    return false;
  }
}

/**
 * Whether a name matches the collection. A name that ends in `*` matches all collections with that prefix.
 */
function matches(name: string | undefined, gun: string): boolean {
  if (name === undefined) return false;
  let end = name.length;
  // A loop instead of a regular expression: `\*+$` starts again at each of a thousand stars that are not at
  // the end.
  while (name[end - 1] === '*') end -= 1;
  return end === name.length ? name === gun : gun.startsWith(name.slice(0, end));
}
