import { generateKeyPair, sign } from 'node:crypto';
import { promisify } from 'node:util';
import { PortcullisError, reasonOf, orThrow } from '../../base/errors/index.ts';
import { writePem } from '../../base/pem/index.ts';
import { policyKey } from '../keys/public-key.ts';
import { recordOf } from '../json/strict-json.ts';
import type { IdentityToken } from './identity-token.ts';
import { postJson } from './post-json.ts';
import { keySigner } from './signer.ts';
import type { Signer, WitnessUrls } from './signer.ts';
import type { Certificate } from '../x509/certificate.ts';
import { certificatesOfPem } from '../x509/pem.ts';

export interface KeylessOptions {
  readonly token: IdentityToken;
  /** The certificate authority, such as `https://fulcio.sigstore.dev`. */
  readonly fulcioUrl: string;
  /**
   * Required: without a Rekor v1 log or a timestamp, it cannot be proven later that the certificate was valid
   * when it signed.
   */
  readonly witnesses: WitnessUrls;
}

/**
 * Returns a signer without a long-lived key: an ephemeral P-256 key, and the certificate that Fulcio issues
 * for the identity in the token. The certificate is requested once, and shared by all signatures before it
 * expires (ten minutes).
 * @throws PortcullisError `TRUST_FULCIO_FAILED`, `TRUST_SIGNING_CONFIG`
 */
export async function keylessSigner({ token, fulcioUrl, witnesses }: KeylessOptions): Promise<Signer> {
  if (witnesses.timestamps.length === 0 && !witnesses.logs.some(({ version }) => version === 1)) {
    const services =
      witnesses.logs.length === 0
        ? 'neither a log nor a time stamp authority is named'
        : 'no time stamp authority is named, and a Rekor v2 log states no time';
    throw new PortcullisError({
      code: 'TRUST_SIGNING_CONFIG',
      kind: 'invalid',
      attempted: 'sign without a key',
      on: fulcioUrl,
      why: `${services}: once the certificate has expired, nothing proves that it was valid`,
      fix: 'name a time stamp authority, or a Rekor v1 log, in the signing configuration',
    });
  }
  const url = checkedUrl(fulcioUrl);
  const pair = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const spki = pair.publicKey.export({ type: 'spki', format: 'der' });
  const request = {
    credentials: { oidcIdentityToken: token.text },
    publicKeyRequest: {
      publicKey: { algorithm: 'ECDSA', content: writePem('PUBLIC KEY', spki) },
      // Signing our own identity proves that we have the key.
      proofOfPossession: sign('sha256', Buffer.from(token.subject), pair.privateKey).toString('base64'),
    },
  };
  const certificate: Certificate = await orThrow(
    async () => leafOf(await postJson(`${url}/api/v2/signingCert`, request)),
    // The answer of a service may quote the request.
    (error) => refused(fulcioUrl, reasonOf(error).replaceAll(token.text, '(token)').slice(0, 500)),
  );
  // An authority that certifies a different key than ours would cause signatures that no client can verify.
  if (!certificate.spki.equals(spki)) throw refused(fulcioUrl, 'its certificate is for another key');
  const named = policyKey(`the identity of ${token.from}`, pair.publicKey);
  if ('problem' in named) throw refused(fulcioUrl, named.problem);
  return keySigner(
    { public: named, private: pair.privateKey },
    { certificates: [certificate.raw], identity: true, witnesses },
  );
}

/**
 * Returns the certificate (sigstore/fulcio fulcio.proto, SigningCertificate), which is first in the list.
 */
function leafOf(answer: unknown): Certificate {
  const record = recordOf(answer);
  const signed =
    recordOf(record?.['signedCertificateEmbeddedSct']) ?? recordOf(record?.['signedCertificateDetachedSct']);
  const certificates = recordOf(signed?.['chain'])?.['certificates'];
  const leaf: unknown = Array.isArray(certificates) ? certificates[0] : undefined;
  const [certificate, other] = typeof leaf === 'string' ? certificatesOfPem(leaf) : [];
  if (certificate === undefined || other !== undefined) throw new Error('it returned no certificate');
  return certificate;
}

/**
 * Checks the URL. During its lifetime, the token lets any reader sign as the signer: it is never sent in
 * clear text.
 */
function checkedUrl(text: string): string {
  const url = URL.parse(text);
  const loopback = url !== null && ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);
  if (url === null || (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback))) {
    throw new PortcullisError({
      code: 'TRUST_SIGNING_CONFIG',
      kind: 'invalid',
      attempted: 'sign without a key',
      on: text,
      why: 'the address of the certificate authority is not https, and the identity token would be sent to it',
      fix: 'name its https address',
    });
  }
  return text.replace(/\/+$/, '');
}

function refused(url: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_FULCIO_FAILED',
    kind: 'unavailable',
    attempted: 'get a certificate for an identity',
    on: url,
    why,
    fix: 'check that this Fulcio accepts the issuer and the audience of the token',
  });
}
