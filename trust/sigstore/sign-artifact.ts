import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { inTotoPayloadType } from '../evidence/cosign-names.ts';

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
    throw failed('TRUST_SIGNING_CONFIG', 'invalid', error, 'name a signing_config.json of version 0.2');
  }
  try {
    const data = Buffer.from(input.artifact);
    const bundle = await builder.create(input.inToto ? { data, type: inTotoPayloadType } : { data });
    return Buffer.from(JSON.stringify(bundleToJSON(bundle)));
  } catch (error) {
    throw failed('TRUST_SIGNING_FAILED', 'unavailable', error, 'check the token and the services that the signing configuration names');
  }
}

function failed(code: string, kind: 'invalid' | 'unavailable', error: unknown, fix: string): PortcullisError {
  const cause = error instanceof Error && error.cause !== undefined ? `: ${reasonOf(error.cause)}` : '';
  return new PortcullisError({ code, kind, attempted: 'sign an artifact', on: '', why: `${reasonOf(error)}${cause}`, fix });
}
