import type { SignatureScheme } from './signature-scheme.ts';
import { constants, sign } from 'node:crypto';
import { PortcullisError } from '../../base/errors/index.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { keyObjectOf } from '../keys/public-key.ts';
import type { PolicyKey } from '../types.ts';
import { rekor2Form } from './rekor-v2.ts';

/** The services that are told of a signature, so that its time can be proven later. */
export interface WitnessUrls {
  /** Rekor logs and the version of their API. */
  readonly logs: readonly { readonly url: string; readonly version: 1 | 2 }[];
  /** RFC 3161 time stamp authorities. */
  readonly timestamps: readonly string[];
}

/**
 * Whoever signs: a key file, a token behind PKCS #11, or an identity with a short-lived certificate. Everything that signs (images
 * in each format, attestations) takes one, and none of it ever sees a private key.
 */
export interface Signer {
  /** The public half. `name` tells a person which key it is. */
  readonly public: PolicyKey;
  /** DER, leaf first; empty for a bare key. The leaf is of `public`. The Notary Project's envelopes carry them. */
  readonly certificates: readonly Buffer[];
  /**
   * The certificate says who signs, and outlives the key: sigstore's forms carry it. Without this they name the key, which is what
   * `cosign verify --key` demands.
   */
  readonly identity?: true;
  readonly witnesses: WitnessUrls;
  /**
   * Signs a message (not its digest). `scheme`: the key's usual one, {@link defaultScheme}, unless given.
   * @throws PortcullisError `TRUST_SIGNING_SCHEME` when the key can not sign so
   */
  sign(message: Uint8Array, scheme?: SignatureScheme): Promise<Buffer>;
  /** Logs out, and lets go of what it holds. */
  close(): Promise<void>;
}

const noWitnesses: WitnessUrls = { logs: [], timestamps: [] };

/**
 * What `cosign verify --key` expects by default: ECDSA and RSA (PKCS #1 v1.5) over SHA-256 whatever the curve, Ed25519 pure.
 * Measured with cosign v3.1.3, whose own `sign` takes other digests for P-384, P-521 and Ed25519.
 */
export function defaultScheme(key: PolicyKey): SignatureScheme {
  return key.type === 'ed25519' ? 'ed25519' : key.type === 'rsa' ? 'rsa-pkcs1-sha256' : 'ecdsa-sha256';
}

/** The certificate that stands for the signer in sigstore's forms, DER; undefined where its key does. */
export function identityCertificate({ certificates, identity }: Signer): Buffer | undefined {
  return identity === true ? certificates[0] : undefined;
}

/** How a signer signs what its witnesses will be told of: as its key usually does, unless a log takes no more than one way. */
export function witnessedScheme(signer: Signer): SignatureScheme {
  return signer.witnesses.logs.some(({ version }) => version === 2) ? rekor2Form(signer.public).scheme : defaultScheme(signer.public);
}

/** @throws PortcullisError `TRUST_SIGNING_SCHEME` when a key of this type can not sign so */
export function checkScheme(key: PolicyKey, scheme: SignatureScheme): void {
  const fits = key.type === 'ed25519' ? scheme.startsWith('ed25519') : scheme.startsWith(`${key.type}-`);
  // A key whose own type is RSASSA-PSS may do nothing else (RFC 4055).
  const bound = keyObjectOf(key).asymmetricKeyType === 'rsa-pss' && !scheme.startsWith('rsa-pss-');
  if (fits && !bound) return;
  throw new PortcullisError({
    code: 'TRUST_SIGNING_SCHEME',
    kind: 'invalid',
    attempted: 'sign',
    on: key.name,
    why: `its type is ${bound ? 'rsa-pss' : key.type}, which can not sign as ${scheme}`,
    fix: 'use another key, or another format',
  });
}

/** A signer that holds a private key in this process, with the certificates that go with it when there are any. */
export function keySigner(
  key: SigningKey,
  options: { readonly certificates?: readonly Buffer[]; readonly identity?: true; readonly witnesses?: WitnessUrls } = {},
): Signer {
  return {
    public: key.public,
    certificates: options.certificates ?? [],
    ...(options.identity === undefined ? {} : { identity: options.identity }),
    witnesses: options.witnesses ?? noWitnesses,
    async sign(message, scheme = defaultScheme(key.public)) {
      checkScheme(key.public, scheme);
      if (scheme === 'ed25519ph') return (await import('../keys/prehashed.ts')).signEd25519ph(key.private, message);
      const digest = scheme === 'ed25519' ? null : (scheme.split('-').at(-1) as string);
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
