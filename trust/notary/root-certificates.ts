import { X509Certificate } from 'node:crypto';
import type { Root, TufKey } from '../tuf/metadata/model.ts';

/**
 * The keys of a Notary root's own role that count: each a certificate, first in its PEM, of no authority, issued to the collection
 * (trustpinning/certs.go of Notary 0.7.0: ValidateRoot, validRootLeafCerts).
 * @param now milliseconds since 1970; undefined when expiry does not matter: a root that was trusted stays the judge of the next
 */
export function rootKeysFor(gun: string, { roles, keys }: Root, bytes: Buffer, now: number | undefined): ReadonlyMap<string, TufKey> {
  const listed = (
    JSON.parse(bytes.toString('utf8')) as { signed: { keys: Record<string, { keytype: string; keyval: { public: string } }> } }
  ).signed.keys;
  const found = new Map<string, TufKey>();
  for (const id of roles.root.keyids) {
    const [key, entry] = [keys.get(id), listed[id]];
    if (key !== undefined && entry?.keytype.endsWith('-x509') === true && isLeafOf(gun, Buffer.from(entry.keyval.public, 'base64'), now))
      found.set(id, key);
  }
  return found;
}

function isLeafOf(gun: string, pem: Buffer, now: number | undefined): boolean {
  try {
    const blocks = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/gu) ?? [];
    const [leaf, ...others] = blocks.map((block) => new X509Certificate(block));
    if (leaf === undefined || leaf.ca || others.some(({ ca }) => !ca)) return false;
    if (!matches(commonName(leaf), gun)) return false;
    if (now !== undefined && Date.parse(leaf.validTo) < now) return false;
    return !/sha-?1/iu.test(leaf.signatureAlgorithm ?? '');
  } catch {
    return false;
  }
}

/** A name that ends in `*` stands for all collections that begin so. */
function matches(name: string | undefined, gun: string): boolean {
  if (name === undefined) return false;
  return name.endsWith('*') ? gun.startsWith(name.replace(/\*+$/u, '')) : name === gun;
}

function commonName({ subject }: X509Certificate): string | undefined {
  return subject
    .split('\n')
    .find((line) => line.startsWith('CN='))
    ?.slice('CN='.length);
}
