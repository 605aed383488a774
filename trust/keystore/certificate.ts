import { writePem } from '../../base/pem/index.ts';
import type { Signer } from '../signers/signer.ts';
import { certificateBody, commonNameOnly } from '../x509/certificate-writer.ts';
import { algorithmWithNull, bits, derTrue, namedBits, octets, oid, sequence } from '../x509/der-writer.ts';

/**
 * Makes a self-signed certificate as Notary's clients require it for root keys: its common name is that of
 * the collection, its usage is code signing (cryptoservice/certificate.go of Notary 0.7; RFC 5280).
 * @returns PEM
 * @throws the errors of the signer
 */
export async function selfSignedCertificate(
  signer: Signer,
  commonName: string,
  from: Date,
  until: Date,
): Promise<string> {
  const rsa = signer.public.type === 'rsa';
  // sha256WithRSAEncryption; ecdsa-with-SHA256
  const algorithm = rsa ? algorithmWithNull('1.2.840.113549.1.1.11') : sequence(oid('1.2.840.10045.4.3.2'));
  const name = commonNameOnly(commonName);
  // digitalSignature and keyEncipherment
  const usage = sequence(oid('2.5.29.15'), derTrue, octets(namedBits(0, 2)));
  const signsCode = sequence(oid('2.5.29.37'), octets(sequence(oid('1.3.6.1.5.5.7.3.3'))));
  const noAuthority = sequence(oid('2.5.29.19'), derTrue, octets(sequence()));
  const body = certificateBody({
    algorithm,
    issuer: name,
    subject: name,
    from,
    until,
    spki: Buffer.from(signer.public.spki, 'base64'),
    extensions: [usage, signsCode, noAuthority],
  });
  const signature = await signer.sign(body, rsa ? 'rsa-pkcs1-sha256' : 'ecdsa-sha256');
  return writePem('CERTIFICATE', sequence(body, algorithm, bits(signature)));
}
