import { createHash } from 'node:crypto';
import { findPath } from '../x509/path.ts';
import { keyUsageBit } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { readTimeStamp, timeStampingOid } from '../x509/time-stamp.ts';
import type { TimeStamp } from '../x509/time-stamp.ts';
import { isWithin } from './trusted-root.ts';
import type { CertificateAuthority } from './trusted-root.ts';

/** A proven time, and the authority that proves it. */
export interface StampedTime {
  readonly authority: CertificateAuthority;
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** Checks that a trusted authority stamped these bytes (the signature), and returns the time. */
export function checkTimeStamp(
  der: Uint8Array,
  stamped: Uint8Array,
  authorities: readonly CertificateAuthority[],
): StampedTime | { readonly problem: string } {
  let stamp: TimeStamp;
  try {
    stamp = readTimeStamp(der);
  } catch (error) {
    return { problem: (error as Error).message };
  }
  if (!createHash(stamp.imprint.digest).update(stamped).digest().equals(stamp.imprint.value))
    return { problem: 'it is for another signature' };
  let problem = 'no authority of the trusted root made it';
  for (const authority of authorities) {
    const flaw = authorityFlaw(stamp, authority);
    if (flaw === undefined) return { authority, time: stamp.time };
    if (flaw !== otherAuthority) problem = flaw;
  }
  return { problem };
}

const otherAuthority = 'other';

function authorityFlaw(
  stamp: TimeStamp,
  { chain, validFor, name }: CertificateAuthority,
): string | undefined {
  const [first] = chain;
  const anchor = chain.at(-1);
  if (first === undefined || anchor === undefined) return otherAuthority;
  // When the root names the signing certificate itself, no other certificate counts. Otherwise a certificate
  // from the timestamp may sign, if its path is valid.
  const candidates = first.isAuthority ? [...chain.slice(1), ...stamp.certificates] : [first];
  const signer = candidates.find((certificate) => stamp.isSigner(certificate));
  if (signer === undefined) return otherAuthority;
  if (
    stamp.certificates.some(
      (certificate) => stamp.isSigner(certificate) && !certificate.raw.equals(signer.raw),
    )
  )
    return 'it contains another certificate of its signer';
  if (!isWithin(stamp.time, validFor))
    return `the authority ${name} was not trusted at ${new Date(stamp.time).toISOString()}`;
  const flaw = signerFlaw(signer);
  if (flaw !== undefined) return flaw;
  const intermediates = chain.slice(0, -1).filter((one) => one !== signer);
  const path = findPath(signer, { anchors: [anchor], intermediates }, [stamp.time], timeStampingOid);
  if ('problem' in path) return path.problem;
  return stamp.isSignedBy(signer) ? undefined : `its signature does not match the authority ${name}`;
}

/** RFC 3161 section 2.3: the key must be for timestamps only. */
function signerFlaw({ extendedKeyUsage, keyUsage }: Certificate): string | undefined {
  if (extendedKeyUsage?.length !== 1 || extendedKeyUsage[0] !== timeStampingOid)
    return "its signer's certificate is not only for time stamps";
  return keyUsage !== undefined && (keyUsage & keyUsageBit.digitalSignature) === 0
    ? "its signer's certificate may not sign"
    : undefined;
}
