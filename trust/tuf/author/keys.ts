import { createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Signer } from '../../signing/signer.ts';
import type { SignatureScheme } from '../../signing/signature-scheme.ts';
import { tufCanonicalJson } from '../metadata/canonical.ts';
import { notaryKeyId, readNotaryKey, readTufKey } from '../metadata/keys.ts';
import type { Dialect } from '../metadata/model.ts';
import type { Json } from '../metadata/reading.ts';

/** A public key exactly as the metadata of one dialect lists it. */
export interface ListedKey {
  /** The key id in this dialect. */
  readonly id: string;
  readonly entry: Json;
  /**
   * Hex sha256 of the SPKI, which identifies the same key in both dialects. Empty when the key type is not
   * supported.
   */
  readonly material: string;
}

/** Specification 1.0.34, section 4.2.1. */
const ecdsaSchemes: Readonly<Record<string, string>> = {
  prime256v1: 'ecdsa-sha2-nistp256',
  secp384r1: 'ecdsa-sha2-nistp384',
  secp521r1: 'ecdsa-sha2-nistp521',
};

export function materialOf(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('hex');
}

/**
 * Returns a key as the metadata of a dialect lists it.
 * @param certificate PEM. Notary's clients require one for the keys of the root and for no other role. The
 * TUF dialect has none.
 * @throws Error for a type or curve that the dialect does not define
 */
export function listedKey(dialect: Dialect, key: KeyObject, certificate?: string): ListedKey {
  const spki = key.export({ format: 'der', type: 'spki' });
  const material = materialOf(spki);
  const type = key.asymmetricKeyType === 'ec' ? 'ecdsa' : key.asymmetricKeyType === 'ed25519' ? 'ed25519' : 'rsa';
  if (dialect === 'tuf') {
    const entry = tufEntry(type, key, spki);
    return { id: createHash('sha256').update(tufCanonicalJson(entry)).digest('hex'), entry, material };
  }
  const named = certificate !== undefined && type !== 'ed25519';
  const keytype = named ? `${type}-x509` : type;
  const content = named ? Buffer.from(certificate) : type === 'ed25519' ? spki.subarray(-32) : spki;
  const text = content.toString('base64');
  return { id: notaryKeyId(keytype, text), entry: { keytype, keyval: { private: null, public: text } }, material };
}

function tufEntry(type: 'ecdsa' | 'ed25519' | 'rsa', key: KeyObject, spki: Buffer): Json {
  if (type === 'ed25519') return { keytype: type, scheme: type, keyval: { public: spki.subarray(-32).toString('hex') } };
  const keyval = { public: key.export({ format: 'pem', type: 'spki' }).toString() };
  if (type === 'rsa') return { keytype: type, scheme: 'rsassa-pss-sha256', keyval };
  const curve = key.asymmetricKeyDetails?.namedCurve ?? '';
  const scheme = ecdsaSchemes[curve];
  if (scheme === undefined) throw new Error(`keys on the curve ${curve} have no scheme in TUF`);
  return { keytype: type, scheme, keyval };
}

/**
 * Returns the id under which Notary keeps a private key: the id of the bare key, whatever certificate the
 * metadata lists.
 */
export function bareKeyId(key: KeyObject): string {
  return listedKey('notary', key).id;
}

/** Returns whether a signer holds a listed key. */
export function holds(signer: Signer, key: ListedKey): boolean {
  return materialOf(Buffer.from(signer.public.spki, 'base64')) === key.material;
}

/** Returns the key itself; undefined when the key type is not supported. */
export function keyOf(dialect: Dialect, { id, entry }: ListedKey): KeyObject | undefined {
  return (dialect === 'tuf' ? readTufKey : readNotaryKey)(id, entry).key;
}

/** Signs a message, and returns the signature in the form of the dialect's metadata. */
export async function signAs(dialect: Dialect, signer: Signer, key: ListedKey, message: Buffer): Promise<Json> {
  const { type, spki } = signer.public;
  const curve =
    type === 'ecdsa'
      ? (createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' }).asymmetricKeyDetails?.namedCurve ?? '')
      : '';
  const bytes = await signer.sign(message, schemeOf(dialect, type, curve));
  if (dialect === 'tuf') return { keyid: key.id, sig: bytes.toString('hex') };
  const [method, sig] =
    type === 'ecdsa' ? ['ecdsa', rawSignature(bytes, curve)] : type === 'ed25519' ? ['eddsa', bytes] : ['rsapss', bytes];
  return { keyid: key.id, method, sig: sig.toString('base64') };
}

/** Notary signs over SHA-256 for every curve (tuf/signed/verifiers.go); TUF's schemes name the hash. */
function schemeOf(dialect: Dialect, type: Signer['public']['type'], curve: string): SignatureScheme {
  if (type === 'ed25519') return 'ed25519';
  if (type === 'rsa') return 'rsa-pss-sha256';
  if (dialect === 'notary' || curve === 'prime256v1') return 'ecdsa-sha256';
  return curve === 'secp384r1' ? 'ecdsa-sha384' : 'ecdsa-sha512';
}

const fieldBytes: Readonly<Record<string, number>> = { prime256v1: 32, secp384r1: 48, secp521r1: 66 };

/** Converts DER to r ‖ s (IEEE P1363), each as long as the field of the curve. */
function rawSignature(der: Buffer, curve: string): Buffer {
  const width = fieldBytes[curve] ?? 32;
  let at = (der[1] ?? 0) >= 0x80 ? 3 : 2;
  const next = (): Buffer => {
    const length = der[at + 1] ?? 0;
    const whole = der.subarray(at + 2, at + 2 + length);
    at += 2 + length;
    const trimmed = whole[0] === 0 && whole.length > 1 ? whole.subarray(1) : whole;
    return Buffer.concat([Buffer.alloc(Math.max(0, width - trimmed.length)), trimmed]);
  };
  return Buffer.concat([next(), next()]);
}
