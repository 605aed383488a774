import { createHash } from 'node:crypto';
import { describeCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { findPath } from '../x509/path.ts';
import { readTimeStamp, timeStampingOid } from '../x509/time-stamp.ts';
import { chainProblem } from './chain.ts';

/**
 * A verified timestamp. An authority whose chain ends in a trusted root confirms that the signature existed
 * within these bounds.
 */
export interface VerifiedTimestamp {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Milliseconds on either side of `time`. */
  readonly accuracy: number;
  readonly chain: readonly Certificate[];
}

/** The baseline timestamp policy (RFC 3628 section 5.2), whose accuracy is one second unless stated. */
const baselinePolicy = '0.4.0.2023.1.1';

/**
 * Verifies an RFC 3161 timestamp token over a signature: its CMS signature, the binding of the signing
 * certificate (signing-certificate-v2, RFC 5816), the imprint, and the authority's chain to one of `roots`,
 * valid at the stamped time (trust-store-trust-policy.md, "Validate Authentic Timestamp").
 * @throws Error with a sentence that completes "its time stamp does not count: …"
 */
export function verifyTimestamp(
  token: Uint8Array,
  stamped: Uint8Array,
  roots: readonly Certificate[],
): VerifiedTimestamp {
  const stamp = readTimeStamp(token);
  if (stamp.certificateDigest === 'sha1')
    throw new Error('it does not state which certificate it is signed with (signing-certificate-v2)');
  const leaf = stamp.certificates.find((one) => stamp.isSigner(one));
  if (leaf === undefined) throw new Error('it does not contain the certificate that it names as its signer');
  if (!stamp.isSignedBy(leaf))
    throw new Error(`it is not signed by its certificate ${describeCertificate(leaf)}`);
  if (!createHash(stamp.imprint.digest).update(stamped).digest().equals(stamp.imprint.value))
    throw new Error('it is not for this signature');
  const found = findPath(
    leaf,
    { anchors: roots, intermediates: stamp.certificates.filter((one) => one !== leaf) },
    [stamp.time],
    timeStampingOid,
  );
  if ('problem' in found)
    throw new Error(
      `the authority ${describeCertificate(leaf)} does not lead to a certificate of the trust stores of type tsa: ${found.problem}`,
    );
  const problem = chainProblem(found.path, 'time stamping');
  if (problem !== undefined) throw new Error(problem);
  return {
    time: stamp.time,
    accuracy: stamp.accuracy ?? (stamp.policy === baselinePolicy ? 1000 : 0),
    chain: found.path,
  };
}
