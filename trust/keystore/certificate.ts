import { randomBytes } from 'node:crypto';
import type { Signer } from '../signers/signer.ts';
import { bits, der, integer, octets, oid, sequence, whole } from '../x509/der-writer.ts';

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
  // ecdsa-with-SHA256; sha256WithRSAEncryption
  const algorithm = rsa
    ? sequence(oid('1.2.840.113549.1.1.11'), der(0x05))
    : sequence(oid('1.2.840.10045.4.3.2'));
  const name = sequence(der(0x31, sequence(oid('2.5.4.3'), der(0x0c, Buffer.from(commonName)))));
  const usage = sequence(oid('2.5.29.15'), boolean, octets(bits(Buffer.from([0xa0]), 5)));
  const signsCode = sequence(oid('2.5.29.37'), octets(sequence(oid('1.3.6.1.5.5.7.3.3'))));
  const noAuthority = sequence(oid('2.5.29.19'), boolean, octets(sequence()));
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const body = sequence(
    der(0xa0, whole(2)),
    integer(serial),
    algorithm,
    name,
    sequence(time(from), time(until)),
    name,
    Buffer.from(signer.public.spki, 'base64'),
    der(0xa3, sequence(usage, signsCode, noAuthority)),
  );
  const signature = await signer.sign(body, rsa ? 'rsa-pkcs1-sha256' : 'ecdsa-sha256');
  const base64 = sequence(body, algorithm, bits(signature))
    .toString('base64')
    .replace(/(.{64})(?=.)/gu, '$1\n');
  return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
}

const boolean = der(0x01, Buffer.from([0xff]));

/** RFC 5280, section 4.1.2.5: years up to 2049 have two digits, later years four. */
function time(date: Date): Buffer {
  const text = `${date
    .toISOString()
    .replace(/\.\d+Z$/u, '')
    .replace(/[-:T]/gu, '')}Z`;
  return date.getUTCFullYear() < 2050 ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text));
}
