import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { rawOfEd25519 } from '../keys/ed25519.ts';
import { tufCanonicalJson } from '../tuf-metadata/canonical.ts';
import { notaryKeyId } from '../tuf-metadata/keys.ts';
import type { Dialect, Metadata, RoleKeys, TufKey, TufSignature } from '../tuf-metadata/model.ts';

/** A key that the service holds: Ed25519, one for each collection and role until it is rotated. */
export interface OnlineKey {
  readonly role: 'snapshot' | 'timestamp';
  /** The public key, 32 bytes. */
  readonly public: Buffer;
  readonly private: KeyObject;
}

/** Returns the public key as metadata lists it, with its id there. */
export function listedOnlineKey(
  dialect: Dialect,
  key: Pick<OnlineKey, 'public'>,
): { readonly id: string; readonly entry: unknown } {
  if (dialect === 'notary') {
    const text = key.public.toString('base64');
    return {
      id: notaryKeyId('ed25519', text),
      entry: { keytype: 'ed25519', keyval: { public: text, private: null } },
    };
  }
  const entry = { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: key.public.toString('hex') } };
  return { id: createHash('sha256').update(tufCanonicalJson(entry)).digest('hex'), entry };
}

/** Returns the keys of a role that the service holds, by their ids in the given root. */
export function heldKeys(
  { keyids }: RoleKeys,
  keys: ReadonlyMap<string, TufKey>,
  online: readonly OnlineKey[],
): { readonly id: string; readonly key: OnlineKey }[] {
  const byMaterial = new Map(online.map((key) => [materialOf(key), key]));
  return keyids.flatMap((id) => {
    const key = byMaterial.get(keys.get(id)?.material ?? '');
    return key === undefined ? [] : [{ id, key }];
  });
}

const materials = new WeakMap<OnlineKey, string>();

/** Returns the digest of the key's SPKI, as in ../tuf-metadata/keys.ts. */
function materialOf(key: OnlineKey): string {
  let material = materials.get(key);
  if (material === undefined) {
    const spki = createPublicKey(key.private).export({ format: 'der', type: 'spki' });
    material = createHash('sha256').update(spki).digest('hex');
    materials.set(key, material);
  }
  return material;
}

/** Signs the `signed` object of a file. Returns the bytes as they are served. */
export function signOnline(
  dialect: Dialect,
  signed: unknown,
  held: readonly { readonly id: string; readonly key: OnlineKey }[],
): Pick<Metadata, 'bytes' | 'message' | 'signatures'> {
  const message = tufCanonicalJson(signed);
  const signatures = held.map(({ id, key }): TufSignature => ({
    keyid: id,
    bytes: sign(null, message, key.private),
  }));
  const written = signatures.map(({ keyid, bytes }) =>
    dialect === 'notary'
      ? { keyid, method: 'eddsa', sig: bytes.toString('base64') }
      : { keyid, sig: bytes.toString('hex') },
  );
  const [head, tail] = [Buffer.from('{"signed":'), Buffer.from(`,"signatures":${JSON.stringify(written)}}`)];
  // Not from the buffer pool: the buffer is kept, and caches recognise it by identity.
  const bytes = Buffer.allocUnsafeSlow(head.length + message.length + tail.length);
  head.copy(bytes);
  message.copy(bytes, head.length);
  tail.copy(bytes, head.length + message.length);
  return { bytes, message, signatures };
}

/**
 * Reads a private key of the service.
 * @param pkcs8 DER
 */
export function onlineKey(role: OnlineKey['role'], pkcs8: Buffer): OnlineKey {
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  return {
    role,
    private: key,
    public: rawOfEd25519(createPublicKey(key)),
  };
}
