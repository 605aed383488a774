import type { SerializedBundle } from '@sigstore/bundle';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { bundleMediaType, inTotoPayloadType } from '../evidence/cosign-names.ts';

export interface SignArtifactInput {
  readonly artifact: Uint8Array;
  /** The artifact is an in-toto statement, to be signed in a DSSE envelope. */
  readonly inToto: boolean;
  /** An OIDC identity token (JWT). */
  readonly identityToken: string;
  /** A sigstore `signing_config.json` (sigstore/protobuf-specs SigningConfig, version 0.2). */
  readonly signingConfig: Uint8Array;
}

/**
 * Signs with a key of this moment and the certificate that Fulcio gives for the token, and has it logged and stamped as the signing
 * configuration says.
 * @returns the bundle's JSON
 * @throws PortcullisError `TRUST_SIGNING_CONFIG`, `TRUST_SIGNING_FAILED`
 */
export async function signArtifact(input: SignArtifactInput): Promise<Buffer> {
  const [{ bundleBuilderFromSigningConfig }, { SigningConfig }, { bundleToJSON }] = await Promise.all([
    import('@sigstore/sign'),
    import('@sigstore/protobuf-specs'),
    import('@sigstore/bundle'),
  ]);
  let builder;
  try {
    builder = bundleBuilderFromSigningConfig({
      bundleType: input.inToto ? 'dsseEnvelope' : 'messageSignature',
      signingConfig: SigningConfig.fromJSON(JSON.parse(Buffer.from(input.signingConfig).toString('utf8'))),
      identityProvider: { getToken: () => Promise.resolve(input.identityToken) },
      fetchOptions: { timeout: 20_000, retry: { retries: 2 } },
    });
  } catch (error) {
    throw failed('TRUST_SIGNING_CONFIG', 'invalid', messageOf(error), 'name a signing_config.json of version 0.2');
  }
  try {
    const data = Buffer.from(input.artifact);
    const bundle = await builder.create(input.inToto ? { data, type: inTotoPayloadType } : { data });
    return Buffer.from(JSON.stringify(asVersion3(bundleToJSON(bundle))));
  } catch (error) {
    // The library quotes the token in its messages: whoever reads an error must not become the signer.
    const words = messageOf(error).replaceAll(input.identityToken, '(the token)');
    throw failed('TRUST_SIGNING_FAILED', 'unavailable', words, 'check the token and the services that the signing configuration names');
  }
}

/** The library writes version 0.2 for messages; of version 0.3 on there is the signer's certificate alone. */
function asVersion3(bundle: SerializedBundle): object {
  const { x509CertificateChain: chain, ...material } = bundle.verificationMaterial;
  if (chain === undefined) return bundle;
  const [certificate] = chain.certificates;
  return { ...bundle, mediaType: bundleMediaType, verificationMaterial: { ...material, certificate } };
}

function messageOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? `: ${reasonOf(error.cause)}` : '';
  return `${reasonOf(error)}${cause}`;
}

function failed(code: string, kind: 'invalid' | 'unavailable', why: string, fix: string): PortcullisError {
  return new PortcullisError({ code, kind, attempted: 'sign an artifact', on: '', why, fix });
}
