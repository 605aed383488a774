import { createHash, generateKeyPair, randomBytes, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { writePem } from '../../base/pem/index.ts';
import { contextTag, derTag } from './der.ts';
import {
  bits,
  der,
  derTrue,
  integer,
  namedBits,
  octets,
  oid,
  sequence,
  time,
  utf8,
  whole,
} from './der-writer.ts';
import { extensionOid } from './extensions.ts';

/** The parts of a TBSCertificate, in DER where they are bytes (RFC 5280 section 4.1). */
export interface CertificateFields {
  readonly algorithm: Buffer;
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly from: Date;
  readonly until: Date;
  readonly spki: Uint8Array;
  readonly extensions: readonly Buffer[];
}

/** Returns a Name with only a common name. */
export function commonNameOnly(commonName: string): Buffer {
  return sequence(der(derTag.set, sequence(oid('2.5.4.3'), utf8(commonName))));
}

/** Returns the part of a certificate that is signed, version 3, with a random serial number. */
export function certificateBody(parts: CertificateFields): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return sequence(
    der(contextTag(0, 'constructed'), whole(2)),
    integer(serial),
    parts.algorithm,
    parts.issuer,
    sequence(time(parts.from), time(parts.until)),
    parts.subject,
    parts.spki,
    der(contextTag(3, 'constructed'), sequence(...parts.extensions)),
  );
}

/** A certificate for a TLS server, its key, and the authority that signed it. PEM. */
export interface ServerCertificate {
  readonly certificate: string;
  /** PKCS #8. A secret. */
  readonly key: string;
  readonly authority: string;
}

/** For which server, and for how long. */
export interface ServerCertificateInput {
  /** The first name is the subject, too. */
  readonly names: readonly [string, ...string[]];
  readonly from: Date;
  readonly until: Date;
}

const newKeyPair = promisify(generateKeyPair);
const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));

/**
 * Makes a key and a certificate for a TLS server, and an authority that signs only this certificate: the key
 * of the authority exists during this call only. P-256, SHA-256 (RFC 5280, RFC 9525).
 * @throws Error when OpenSSL cannot make a key
 */
export async function makeServerCertificate({
  names,
  from,
  until,
}: ServerCertificateInput): Promise<ServerCertificate> {
  const [authority, server] = [
    await newKeyPair('ec', { namedCurve: 'P-256' }),
    await newKeyPair('ec', { namedCurve: 'P-256' }),
  ];
  const [authoritySpki, spki] = [authority, server].map(({ publicKey }) =>
    publicKey.export({ type: 'spki', format: 'der' }),
  ) as [Buffer, Buffer];
  const issuer = commonNameOnly(`authority of ${names[0].slice(0, 50)}`);
  const keyId = createHash('sha256').update(authoritySpki).digest().subarray(0, 20);
  const parts = { algorithm: ecdsaWithSha256, issuer, from, until };
  const certified = (body: Buffer): string =>
    writePem(
      'CERTIFICATE',
      sequence(body, ecdsaWithSha256, bits(sign('sha256', body, authority.privateKey))),
    );
  return {
    authority: certified(
      certificateBody({
        ...parts,
        subject: issuer,
        spki: authoritySpki,
        extensions: [
          // cA, pathLenConstraint 0
          extension('basicConstraints', true, sequence(derTrue, whole(0))),
          // keyCertSign
          extension('keyUsage', true, namedBits(5)),
          extension('subjectKeyIdentifier', false, octets(keyId)),
        ],
      }),
    ),
    certificate: certified(
      certificateBody({
        ...parts,
        subject: commonNameOnly(names[0].slice(0, 64)),
        spki,
        extensions: [
          extension('basicConstraints', true, sequence()),
          // digitalSignature
          extension('keyUsage', true, namedBits(0)),
          // id-kp-serverAuth
          extension('extendedKeyUsage', false, sequence(oid('1.3.6.1.5.5.7.3.1'))),
          extension('authorityKeyIdentifier', false, sequence(der(contextTag(0, 'primitive'), keyId))),
          // dNSName
          extension(
            'subjectAltName',
            false,
            sequence(...names.map((name) => der(contextTag(2, 'primitive'), Buffer.from(name, 'latin1')))),
          ),
        ],
      }),
    ),
    key: pkcs8(server.privateKey),
  };
}

function extension(name: keyof typeof extensionOid, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(extensionOid[name]), ...(critical ? [derTrue] : []), octets(value));
}

const pkcs8 = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
