import { X509Certificate, generateKeyPair, sign } from 'node:crypto';
import { promisify } from 'node:util';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { policyKey } from '../keys/public-key.ts';
import type { IdentityToken } from './identity-token.ts';
import { keySigner } from './signer.ts';
import type { Signer, WitnessUrls } from './signer.ts';

export interface KeylessOptions {
  readonly token: IdentityToken;
  /** The certificate authority, such as `https://fulcio.sigstore.dev`. */
  readonly fulcioUrl: string;
  /** Without a log or a time stamp nothing proves later that the certificate was valid when it signed. */
  readonly witnesses: WitnessUrls;
}

/**
 * A signer without a lasting key: a P-256 key of this moment, and the certificate that Fulcio gives it for the identity in the token.
 * The certificate is asked for once; all that is signed before it expires (ten minutes) shares it.
 * @throws PortcullisError `TRUST_FULCIO_FAILED`, `TRUST_SIGNING_CONFIG`
 */
export async function keylessSigner({ token, fulcioUrl, witnesses }: KeylessOptions): Promise<Signer> {
  if (witnesses.logs.length === 0 && witnesses.timestamps.length === 0) {
    throw new PortcullisError({
      code: 'TRUST_SIGNING_CONFIG',
      kind: 'invalid',
      attempted: 'sign without a key',
      on: fulcioUrl,
      why: 'neither a log nor a time stamp authority is named: once the certificate has expired, nothing proves that it was valid',
      fix: 'name a log or a time stamp authority in the signing configuration',
    });
  }
  const { FulcioSigner } = await import('@sigstore/sign');
  const pair = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const publicKey = pair.publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const fulcio = new FulcioSigner({
    fulcioBaseURL: fulcioUrl.replace(/\/+$/, ''),
    identityProvider: { getToken: () => Promise.resolve(token.text) },
    keyHolder: {
      sign: (data) => Promise.resolve({ signature: sign('sha256', data, pair.privateKey), key: { $case: 'publicKey', publicKey } }),
    },
    timeout: 20_000,
    retry: { retries: 2 },
  });
  let certificate: X509Certificate;
  try {
    const { key } = await fulcio.sign(Buffer.from('portcullis'));
    certificate = new X509Certificate(key.$case === 'x509Certificate' ? key.certificate : '');
  } catch (error) {
    throw refused(fulcioUrl, safeReason(error, token));
  }
  // An authority that certifies another key than ours would make signatures that nobody can verify.
  if (!certificate.checkPrivateKey(pair.privateKey)) throw refused(fulcioUrl, 'its certificate is of another key');
  const named = policyKey(`the identity of ${token.from}`, pair.publicKey);
  if ('problem' in named) throw refused(fulcioUrl, named.problem);
  return keySigner({ public: named, private: pair.privateKey }, { certificates: [certificate.raw], witnesses });
}

/** What the library says, with what the service answered; a token never. */
function safeReason(error: unknown, token: IdentityToken): string {
  const cause = error instanceof Error && error.cause !== undefined ? `: ${reasonOf(error.cause)}` : '';
  return `${reasonOf(error)}${cause}`.replaceAll(token.text, '(token)').slice(0, 500);
}

function refused(url: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_FULCIO_FAILED',
    kind: 'unavailable',
    attempted: 'get a certificate for an identity',
    on: url,
    why,
    fix: 'check that the token’s issuer and audience are ones that this Fulcio accepts',
  });
}
