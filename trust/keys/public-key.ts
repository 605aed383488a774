import { createPublicKey, createHash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { attempt } from '../../base/errors/index.ts';
import { mentionsPrivateKey, onlyPemBlock } from '../../base/pem/index.ts';
import type { PolicyKey } from '../requirements/types.ts';
import { canonicalSpki, signerOfKeyObject } from './canonical-spki.ts';
import { keyFlaw } from './key-flaw.ts';

const curves: Readonly<Record<string, string>> = {
  prime256v1: 'P-256',
  secp384r1: 'P-384',
  secp521r1: 'P-521',
};

/** Parameter sets of ML-DSA (FIPS 204, section 4), by Node's names of the key types. */
const mlDsaNames: Readonly<Record<string, string>> = {
  'ml-dsa-44': 'ML-DSA-44',
  'ml-dsa-65': 'ML-DSA-65',
  'ml-dsa-87': 'ML-DSA-87',
};

/** Object identifiers 2.16.840.1.101.3.4.3.17 to .19 in an SPKI (RFC 9881, section 2). */
const mlDsaIdentifier = Buffer.from('06096086480165030403', 'hex');

/** RSA moduli below this many bits are refused (NIST SP 800-131A). */
const minimumRsaBits = 2048;

/** A larger RSA key costs milliseconds of the main thread for each verification. */
const maximumRsaBits = 8192;

/** The PEM types of public keys (RFC 7468 section 13; PKCS #1), and Node's names of their content. */
const pemForms: ReadonlyMap<string, 'spki' | 'pkcs1'> = new Map([
  ['PUBLIC KEY', 'spki'],
  ['RSA PUBLIC KEY', 'pkcs1'],
]);

/**
 * Reads a public key: one PEM block `PUBLIC KEY` (SPKI), as `cosign public-key` and `openssl pkey -pubout`
 * write it; or `RSA PUBLIC KEY`, which cosign, Kyverno and the containers image library read too.
 * @returns the key, or a sentence that says why it cannot be used
 */
export function parsePublicKey(name: string, text: string): PolicyKey | { readonly problem: string } {
  if (mentionsPrivateKey(text)) return { problem: 'it contains a private key; a policy names public keys' };
  const block = onlyPemBlock(text);
  if ('problem' in block) return block;
  const type = pemForms.get(block.type);
  if (type === undefined) return { problem: `its PEM block is "${block.type}", not "PUBLIC KEY"` };
  let key: KeyObject;
  try {
    key = createPublicKey({ key: block.content, format: 'der', type });
  } catch {
    const mlDsa = block.content.subarray(0, 32).indexOf(mlDsaIdentifier) !== -1;
    return {
      problem: mlDsa
        ? `it is an ML-DSA key, which Node ${process.versions.node} cannot read; Node 24.7 or newer can`
        : 'its PEM block is not a readable public key',
    };
  }
  return policyKey(name, key);
}

/** Returns the {@link PolicyKey} of a key object, or why this type of key is not accepted. */
export function policyKey(name: string, key: KeyObject): PolicyKey | { readonly problem: string } {
  const type = keyType(key);
  if (typeof type !== 'string') return type;
  // Other tools read only named curves and uncompressed points, and compute hints and ids of keys from them.
  const spki = attempt(() =>
    key.asymmetricKeyType === 'ec' ? canonicalSpki(key) : key.export({ type: 'spki', format: 'der' }),
  );
  // OpenSSL reads this point, but cannot write it.
  if (spki === undefined) return { problem: 'its point is the point at infinity' };
  return { name, type, spki: spki.toString('base64') };
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
      const problem = keyFlaw(key);
      return problem === undefined ? 'ed25519' : { problem };
    }
    case 'rsa':
    case 'rsa-pss': {
      const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
      if (bits < minimumRsaBits || bits > maximumRsaBits)
        return {
          problem: `its RSA modulus has ${bits} bits; ${minimumRsaBits} to ${maximumRsaBits} are accepted`,
        };
      const problem = keyFlaw(key);
      return problem === undefined ? 'rsa' : { problem };
    }
    default:
      return mlDsaNames[String(key.asymmetricKeyType)] === undefined
        ? {
            problem: `its type is ${String(key.asymmetricKeyType)}; ECDSA, Ed25519, ML-DSA and RSA are accepted`,
          }
        : 'ml-dsa';
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
        : (mlDsaNames[String(object.asymmetricKeyType)] ?? 'Ed25519');
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
  return signerOfKeyObject(keyObjectOf(key));
}
