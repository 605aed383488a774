import { signBundle, signMessageBundle } from './dsse-bundle.ts';
import { readIdentityToken } from '../signers/identity-token.ts';
import { keylessSigner } from '../signers/keyless.ts';
import { parseSigningConfig } from '../signers/signing-config.ts';
import { PortcullisError } from '../../base/errors/index.ts';

/** The artifact, the signer's token, and the services. */
export interface SignArtifactInput {
  readonly artifact: Uint8Array;
  /** The artifact is an in-toto statement, to be signed in a DSSE envelope. */
  readonly inToto: boolean;
  /** An OIDC identity token (JWT). */
  readonly identityToken: string;
  /** A sigstore `signing_config.json` (sigstore/protobuf-specs SigningConfig, version 0.2). */
  readonly signingConfig: Uint8Array;
  readonly now: Date;
}

/**
 * Signs with an ephemeral key and the certificate that Fulcio issues for the token. Logs and timestamp
 * authorities of the signing configuration attest the signature.
 * @returns the bundle's JSON
 * @throws PortcullisError `TRUST_SIGNING_CONFIG`, `TRUST_IDENTITY_TOKEN`, `TRUST_FULCIO_FAILED`,
 * `TRUST_WITNESS_FAILED`; the error contains no part of the token
 */
export async function signArtifact(input: SignArtifactInput): Promise<Buffer> {
  const on = 'the signing configuration';
  const { fulcioUrl, witnesses } = parseSigningConfig(input.signingConfig, on, input.now);
  if (fulcioUrl === undefined) {
    throw new PortcullisError({
      code: 'TRUST_SIGNING_CONFIG',
      kind: 'invalid',
      attempted: 'sign an artifact',
      on,
      why: 'no certificate authority in it is valid now',
      fix: 'name a signing_config.json with caUrls',
    });
  }
  const token = readIdentityToken(input.identityToken, 'the token', input.now);
  const signer = await keylessSigner({ token, fulcioUrl, witnesses });
  const artifact = Buffer.from(input.artifact);
  return input.inToto ? signBundle(artifact, signer) : signMessageBundle(artifact, signer);
}
