import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Signer } from '../signers/signer.ts';
import type { SignatureScheme } from '../signers/signature-scheme.ts';
import { materialOf } from '../tuf-metadata/listed-key.ts';
import type { ListedKey } from '../tuf-metadata/listed-key.ts';
import { readNotaryKey, readTufKey } from '../tuf-metadata/keys.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import type { Json } from '../tuf-metadata/reading.ts';
import { curveBytes, rawOfEcdsaSignature } from '../x509/ecdsa-signature.ts';

/** Returns whether a signer holds a listed key. */
export function holds(signer: Signer, key: ListedKey): boolean {
  return materialOf(Buffer.from(signer.public.spki, 'base64')) === key.material;
}

/** Returns the key itself; undefined when the key type is not supported. */
export function keyOf(dialect: Dialect, { id, entry }: ListedKey): KeyObject | undefined {
  return (dialect === 'tuf' ? readTufKey : readNotaryKey)(id, entry).key;
}

/** Signs a message, and returns the signature in the form of the dialect's metadata. */
export async function signAs(
  dialect: Dialect,
  signer: Signer,
  key: ListedKey,
  message: Buffer,
): Promise<Json> {
  const { type, spki } = signer.public;
  const curve =
    type === 'ecdsa'
      ? (createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' })
          .asymmetricKeyDetails?.namedCurve ?? '')
      : '';
  const bytes = await signer.sign(message, schemeOf(dialect, type, curve));
  if (dialect === 'tuf') return { keyid: key.id, sig: bytes.toString('hex') };
  const [method, sig] =
    type === 'ecdsa'
      ? ['ecdsa', rawOfEcdsaSignature(bytes, curveBytes[curve] ?? 0)]
      : type === 'ed25519'
        ? ['eddsa', bytes]
        : ['rsapss', bytes];
  return { keyid: key.id, method, sig: sig.toString('base64') };
}

/** Notary signs over SHA-256 for every curve (tuf/signed/verifiers.go); TUF's schemes name the hash. */
function schemeOf(dialect: Dialect, type: Signer['public']['type'], curve: string): SignatureScheme {
  if (type === 'ed25519') return 'ed25519';
  if (type === 'rsa') return 'rsa-pss-sha256';
  if (dialect === 'notary' || curve === 'prime256v1') return 'ecdsa-sha256';
  return curve === 'secp384r1' ? 'ecdsa-sha384' : 'ecdsa-sha512';
}
