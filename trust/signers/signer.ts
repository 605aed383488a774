import type { SignatureScheme } from './signature-scheme.ts';
import { constants, sign } from 'node:crypto';
import { PortcullisError } from '../../base/errors/index.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { keyObjectOf } from '../keys/public-key.ts';
import type { PolicyKey } from '../requirements/types.ts';
import { rekor2Form } from './rekor-v2.ts';

/** The services that receive each signature, so that its time can be proven later. */
export interface WitnessUrls {
  /** Rekor logs and their API version. */
  readonly logs: readonly { readonly url: string; readonly version: 1 | 2 }[];
  /** RFC 3161 timestamp authorities. */
  readonly timestamps: readonly string[];
}

/**
 * A signer: a key file, a token behind PKCS #11, or an identity with a short-lived certificate. All code that
 * signs (images in each format, attestations) uses this interface, and never has access to a private key.
 */
export interface Signer {
  /** The public key. `name` is for display. */
  readonly public: PolicyKey;
  /**
   * DER, leaf first; empty for a bare key. The leaf certifies `public`. The Notary Project's envelopes carry
   * the certificates.
   */
  readonly certificates: readonly Buffer[];
  /**
   * The certificate identifies the signer and outlives the key: sigstore's forms carry it. Without this, they
   * name the key, which `cosign verify --key` requires.
   */
  readonly identity?: true;
  readonly witnesses: WitnessUrls;
  /**
   * Signs a message (not its digest). `scheme` defaults to the usual one of the key, {@link defaultScheme}.
   * @throws PortcullisError `TRUST_SIGNING_SCHEME` when the key cannot sign with the scheme
   */
  sign(message: Uint8Array, scheme?: SignatureScheme): Promise<Buffer>;
  /** Logs out, and releases all resources. */
  close(): Promise<void>;
}

const noWitnesses: WitnessUrls = { logs: [], timestamps: [] };

/**
 * Returns the scheme that `cosign verify --key` expects by default: ECDSA and RSA (PKCS #1 v1.5) over SHA-256
 * for every curve, Ed25519 and ML-DSA pure. Measured with cosign v3.1.3, whose own `sign` uses other digests
 * for P-384, P-521 and Ed25519.
 */
export function defaultScheme(key: PolicyKey): SignatureScheme {
  const schemes = {
    ecdsa: 'ecdsa-sha256',
    rsa: 'rsa-pkcs1-sha256',
    ed25519: 'ed25519',
    'ml-dsa': 'ml-dsa',
  } as const;
  return schemes[key.type];
}

/**
 * Returns the certificate that identifies the signer in sigstore's forms, DER; undefined when the key
 * identifies it.
 */
export function identityCertificate({ certificates, identity }: Signer): Buffer | undefined {
  return identity === true ? certificates[0] : undefined;
}

/**
 * Returns the scheme in which a signer signs for its witnesses: the usual one of its key, unless a log
 * accepts only one.
 */
export function witnessedScheme(signer: Signer): SignatureScheme {
  return signer.witnesses.logs.some(({ version }) => version === 2)
    ? rekor2Form(signer.public).scheme
    : defaultScheme(signer.public);
}

/**
 * Checks that a key can sign with a scheme.
 * @throws PortcullisError `TRUST_SIGNING_SCHEME` when a key of this type cannot
 */
export function checkScheme(key: PolicyKey, scheme: SignatureScheme): void {
  const fits =
    key.type === 'ed25519' || key.type === 'ml-dsa'
      ? scheme.startsWith(key.type)
      : scheme.startsWith(`${key.type}-`);
  // A key whose own type is RSASSA-PSS may use no other scheme (RFC 4055).
  const bound = keyObjectOf(key).asymmetricKeyType === 'rsa-pss' && !scheme.startsWith('rsa-pss-');
  if (fits && !bound) return;
  throw new PortcullisError({
    code: 'TRUST_SIGNING_SCHEME',
    kind: 'invalid',
    attempted: 'sign',
    on: key.name,
    why: `its type is ${bound ? 'rsa-pss' : key.type}, which cannot sign as ${scheme}`,
    fix: 'use another key, or another format',
  });
}

/** Returns a signer that holds a private key in this process, with its certificates, if there are any. */
export function keySigner(
  key: SigningKey,
  options: {
    readonly certificates?: readonly Buffer[];
    readonly identity?: true;
    readonly witnesses?: WitnessUrls;
  } = {},
): Signer {
  return {
    public: key.public,
    certificates: options.certificates ?? [],
    ...(options.identity === undefined ? {} : { identity: options.identity }),
    witnesses: options.witnesses ?? noWitnesses,
    async sign(message, scheme = defaultScheme(key.public)) {
      checkScheme(key.public, scheme);
      if (scheme === 'ed25519ph')
        return (await import('../keys/prehashed.ts')).signEd25519ph(key.private, message);
      const digest =
        scheme === 'ed25519' || scheme === 'ml-dsa' ? null : (scheme.split('-').at(-1) as string);
      const padding = scheme.startsWith('rsa-pss')
        ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
        : scheme.startsWith('rsa')
          ? { padding: constants.RSA_PKCS1_PADDING }
          : {};
      return sign(digest, message, { key: key.private, ...padding });
    },
    close: () => Promise.resolve(),
  };
}
