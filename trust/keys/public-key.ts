import { createPublicKey, createHash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mentionsPrivateKey, onlyPemBlock } from '../../base/pem/index.ts';
import type { PolicyKey } from '../requirements/types.ts';
import { edwardsKeyFlaw } from './edwards-point.ts';

const curves: Readonly<Record<string, string>> = {
  prime256v1: 'P-256',
  secp384r1: 'P-384',
  secp521r1: 'P-521',
};

/** RSA moduli below this many bits are refused (NIST SP 800-131A). */
const minimumRsaBits = 2048;

/** A larger RSA key costs milliseconds of the main thread for each verification. */
const maximumRsaBits = 8192;

/**
 * Reads a public key: one PEM block `PUBLIC KEY` (SPKI), as `cosign public-key` and `openssl pkey -pubout`
 * write it.
 * @returns the key, or a sentence that says why it cannot be used
 */
export function parsePublicKey(name: string, text: string): PolicyKey | { readonly problem: string } {
  if (mentionsPrivateKey(text)) return { problem: 'it holds a private key; a policy names public keys' };
  const block = onlyPemBlock(text);
  if ('problem' in block) return block;
  if (block.type !== 'PUBLIC KEY') return { problem: `its PEM block is "${block.type}", not "PUBLIC KEY"` };
  let key: KeyObject;
  try {
    key = createPublicKey({ key: block.content, format: 'der', type: 'spki' });
  } catch {
    return { problem: 'its PEM block is not a readable public key' };
  }
  return policyKey(name, key);
}

/** Returns the {@link PolicyKey} of a key object, or why this type of key is not accepted. */
export function policyKey(name: string, key: KeyObject): PolicyKey | { readonly problem: string } {
  const type = keyType(key);
  if (typeof type !== 'string') return type;
  return { name, type, spki: key.export({ type: 'spki', format: 'der' }).toString('base64') };
}

function keyType(key: KeyObject): PolicyKey['type'] | { readonly problem: string } {
  switch (key.asymmetricKeyType) {
    case 'ec': {
      const curve = key.asymmetricKeyDetails?.namedCurve ?? 'unnamed';
      return curves[curve] === undefined
        ? { problem: `its curve is ${curve}; P-256, P-384 and P-521 are accepted` }
        : 'ecdsa';
    }
    case 'ed25519': {
      const problem = edwardsKeyFlaw(key);
      return problem === undefined ? 'ed25519' : { problem };
    }
    case 'rsa':
    case 'rsa-pss': {
      const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
      return bits < minimumRsaBits || bits > maximumRsaBits
        ? { problem: `its RSA modulus has ${bits} bits; ${minimumRsaBits} to ${maximumRsaBits} are accepted` }
        : 'rsa';
    }
    default:
      return { problem: `its type is ${String(key.asymmetricKeyType)}; ECDSA, Ed25519 and RSA are accepted` };
  }
}

const keyObjects = new WeakMap<PolicyKey, KeyObject>();

/** Returns the key object of a policy key, parsed once. */
export function keyObjectOf(key: PolicyKey): KeyObject {
  let object = keyObjects.get(key);
  if (object === undefined) {
    object = createPublicKey({ key: Buffer.from(key.spki, 'base64'), format: 'der', type: 'spki' });
    keyObjects.set(key, object);
  }
  return object;
}

/**
 * Describes a key as `k8s.pub (ECDSA P-256, sha256:2cf24dba5fb0)`: name, algorithm and the first digits of
 * the SPKI's digest.
 */
export function describeKey(key: PolicyKey): string {
  const object = keyObjectOf(key);
  const details = object.asymmetricKeyDetails;
  const algorithm =
    key.type === 'ecdsa'
      ? `ECDSA ${curves[details?.namedCurve ?? ''] ?? ''}`
      : key.type === 'rsa'
        ? `RSA ${details?.modulusLength ?? ''}`
        : 'Ed25519';
  const digest = createHash('sha256').update(key.spki, 'base64').digest('hex');
  return `${key.name} (${algorithm}, sha256:${digest.slice(0, 12)})`;
}

/**
 * Returns the hint by which a sigstore bundle names its key: base64 of the SPKI's sha256, as cosign v3 writes
 * it.
 */
export function bundleKeyHint(spki: string): string {
  return createHash('sha256').update(spki, 'base64').digest('base64');
}

/**
 * Returns the signer for a key, as in `ProvenFacts.signer`: the same for every name that a policy has for the
 * key.
 */
export function signerOfKey(key: PolicyKey): string {
  return `key sha256:${createHash('sha256').update(key.spki, 'base64').digest('hex')}`;
}
