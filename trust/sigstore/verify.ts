import type { KeyObject } from 'node:crypto';
import { largest, smallest } from '../../base/lists/index.ts';
import { verifyDigestWithKey, verifyWithKey } from '../keys/verify-signature.ts';
import { keyUsageBit, readCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { extensionOid } from '../x509/extensions.ts';
import { findPath } from '../x509/path.ts';
import type { Bundle } from './bundle.ts';
import { checkCertificateTimeStamps } from './certificate-time-stamp.ts';
import { readIdentity } from './identity.ts';
import type { CertificateIdentity } from './identity.ts';
import { bodyFlaw, envelopeMessage } from './log-body.ts';
import type { LoggedSigner, SignedMessage } from './log-body.ts';
import { checkInclusion } from './log-entry.ts';
import { checkTimeStamp } from './time-stamps.ts';
import type { StampedTime } from './time-stamps.ts';
import { distinctServices, isWithin } from './trusted-root.ts';
import type { TransparencyLog, TrustedRoot } from './trusted-root.ts';

/** How much must be proven besides the signature. */
export interface Thresholds {
  /** Distinct transparency logs that contain the signature. */
  readonly logs: number;
  /** Distinct timestamp authorities that have stamped it. */
  readonly timeStamps: number;
  /** Distinct certificate logs that have recorded the certificate. Only for certificates. */
  readonly certificateLogs: number;
}

/** No further proof: only the signature is verified, by a key. */
export const signaturesOnly: Thresholds = { logs: 0, timeStamps: 0, certificateLogs: 0 };

export const defaultThresholds: Thresholds = { logs: 1, timeStamps: 0, certificateLogs: 1 };

export interface VerifyInput {
  readonly bundle: Bundle;
  /** The message of a message signature; an envelope carries its own. */
  readonly message?: SignedMessage;
  /** The key that must have signed. Absent: a certificate of the trusted root's authorities. */
  readonly key?: KeyObject;
  /** Absent: only the key is trusted, and logs and timestamps are ignored. */
  readonly root?: TrustedRoot;
  readonly thresholds: Thresholds;
  readonly now: Date;
}

/** The latest possible time of signing, and its proof. */
export interface ProvenTime {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly provenBy: 'transparency log' | 'time stamp';
}

export interface Verified {
  /** The identity in the certificate, if a certificate signed. */
  readonly identity?: CertificateIdentity;
  /** The earliest proven time. */
  readonly signedAt?: ProvenTime;
  /**
   * Milliseconds since 1970: when the trust in a log ends whose entry has no proven time. Absent when none
   * ends.
   */
  readonly trustedUntil?: number;
}

export type SigstoreCode =
  | 'TRUST_SIGNATURE_WRONG'
  | 'TRUST_SIGNATURE_MALFORMED'
  | 'TRUST_SIGSTORE_CERTIFICATE'
  | 'TRUST_SIGSTORE_CERTIFICATE_LOG'
  | 'TRUST_SIGSTORE_LOG'
  | 'TRUST_SIGSTORE_TIME';

export interface NotVerified {
  readonly code: SigstoreCode;
  /** Completes "the signature …" or "it …". */
  readonly problem: string;
  /** Milliseconds since 1970: a time of the signature that is in the future now is not from then on. */
  readonly countsFrom?: number;
}

/** The clock of this machine may be this much behind the clock of a log or an authority. */
const clockSkewMilliseconds = 5 * 60_000;
const codeSigningOid = '1.3.6.1.5.5.7.3.3';

/**
 * Verifies a bundle as sigstore's client specification describes ("Verification"): proven times, the
 * certificate's path at those times, the certificate logs' timestamps, the log entries, the signature.
 * Everything in the bundle that the trusted root can verify must be valid: damaged evidence is not treated as
 * absent. The caller checks the identity. Pure.
 */
export function verifyBundle(input: VerifyInput): Verified | NotVerified {
  const { bundle, key, root } = input;
  const { content } = bundle;
  const message = content.kind === 'dsse' ? envelopeMessage(content) : input.message;
  if (message === undefined) return no('TRUST_SIGNATURE_MALFORMED', 'its signed content is not available');
  const signer = key === undefined ? readSigner(bundle) : { key };
  if ('problem' in signer) return signer;
  if (!isRight(message, signer.key, content.signature))
    return no(
      'TRUST_SIGNATURE_WRONG',
      'the signature does not match the signed content: one of the two was changed, or another key signed',
    );
  if (root === undefined)
    return signer.identity === undefined
      ? {}
      : no('TRUST_SIGSTORE_CERTIFICATE', 'there is no trusted root to verify its certificate with');
  const times = provenTimes(input, root, message, {
    ...(signer.certificate === undefined ? {} : { certificate: signer.certificate.raw }),
    spki: signer.certificate?.spki ?? signer.key.export({ type: 'spki', format: 'der' }),
  });
  if ('problem' in times) return times;
  const { proven, trustedUntil } = times;
  const flaw =
    signer.certificate === undefined
      ? undefined
      : certificateFlaw(signer.certificate, signer.others, proven, input, root);
  if (flaw !== undefined) return flaw;
  const [first] = proven.toSorted((a, b) => a.time - b.time);
  return {
    ...(signer.identity === undefined ? {} : { identity: signer.identity }),
    ...(first === undefined ? {} : { signedAt: first }),
    ...(trustedUntil === undefined ? {} : { trustedUntil }),
  };
}

interface Signer {
  readonly key: KeyObject;
  readonly certificate?: Certificate;
  readonly others?: readonly Certificate[];
  readonly identity?: CertificateIdentity;
}

function readSigner(bundle: Bundle): Signer | NotVerified {
  try {
    const [certificate, ...others] = bundle.certificates.map(readCertificate);
    if (certificate === undefined)
      return no('TRUST_SIGSTORE_CERTIFICATE', 'it was made with a key, and has no certificate');
    return { key: certificate.key, certificate, others, identity: readIdentity(certificate) };
  } catch (error) {
    return no('TRUST_SIGSTORE_CERTIFICATE', `its certificate cannot be used: ${(error as Error).message}`);
  }
}

function isRight(message: SignedMessage, key: KeyObject, signature: Buffer): boolean {
  if (message.bytes !== undefined) return verifyWithKey(key, message.bytes, signature);
  return (['sha256', 'sha384', 'sha512'] as const).some((algorithm) => {
    const hex = message.digests[algorithm];
    return (
      hex !== undefined && verifyDigestWithKey(key, { algorithm, value: Buffer.from(hex, 'hex') }, signature)
    );
  });
}

function provenTimes(
  input: VerifyInput,
  root: TrustedRoot,
  message: SignedMessage,
  signer: LoggedSigner,
): { readonly proven: readonly ProvenTime[]; readonly trustedUntil?: number } | NotVerified {
  const { bundle, thresholds, now } = input;
  const checked = stampedTimes(bundle, root);
  if ('problem' in checked) return checked;
  const { stamps } = checked;
  const proofs = logProofs(input, root, message, signer, stamps);
  if ('problem' in proofs) return proofs;
  const { logs, logTimes, untimed } = proofs;
  const counted = distinctServices(logs);
  if (counted < thresholds.logs)
    return no('TRUST_SIGSTORE_LOG', missing('transparency log', counted, thresholds.logs));
  const authorities = distinctServices(stamps.map(({ authority }) => authority));
  if (authorities < thresholds.timeStamps)
    return no('TRUST_SIGSTORE_TIME', missing('time stamp', authorities, thresholds.timeStamps));
  const times: ProvenTime[] = [
    ...stamps.map(({ time }) => ({ time, provenBy: 'time stamp' }) as const),
    ...logTimes.map((time) => ({ time, provenBy: 'transparency log' }) as const),
  ];
  const latest = largest(times.map(({ time }) => time));
  if (latest > now.getTime() + clockSkewMilliseconds)
    return {
      code: 'TRUST_SIGSTORE_TIME',
      problem: `it says it was made at ${new Date(latest).toISOString()}, which is in the future`,
      countsFrom: latest - clockSkewMilliseconds,
    };
  const end = smallest(untimed.map(({ validFor }) => validFor.end));
  return { proven: times, ...(Number.isFinite(end) ? { trustedUntil: end } : {}) };
}

function stampedTimes(
  bundle: VerifyInput['bundle'],
  root: TrustedRoot,
): { readonly stamps: readonly StampedTime[] } | NotVerified {
  const stamps: StampedTime[] = [];
  // A root without timestamp authorities cannot verify a timestamp. With them, each timestamp must be valid.
  for (const stamp of root.timeStampAuthorities.length === 0 ? [] : bundle.timeStamps) {
    const alone = checkTimeStamp(stamp, bundle.content.signature, root.timeStampAuthorities);
    const { stamped } = bundle;
    const finding =
      'problem' in alone && stamped !== undefined
        ? checkTimeStamp(stamp, stamped, root.timeStampAuthorities)
        : alone;
    if ('problem' in finding)
      return no('TRUST_SIGSTORE_TIME', `its time stamp does not count: ${finding.problem}`);
    stamps.push(finding);
  }
  return { stamps };
}

interface LogProofs {
  readonly logs: readonly TransparencyLog[];
  /** The times at which the logs added their entries. */
  readonly logTimes: readonly number[];
  /** The logs whose entries have no proven time. */
  readonly untimed: readonly TransparencyLog[];
}

function logProofs(
  { bundle, now }: VerifyInput,
  root: TrustedRoot,
  message: SignedMessage,
  signer: LoggedSigner,
  stamps: readonly StampedTime[],
): LogProofs | NotVerified {
  const logs: TransparencyLog[] = [];
  const logTimes: number[] = [];
  const untimed: TransparencyLog[] = [];
  const stampTimes = stamps.map(({ time }) => time);
  const promiseSuffices = bundle.version === '0.1' || bundle.version === 'legacy';
  const moments = stampTimes.length > 0 ? stampTimes : [now.getTime()];
  for (const entry of root.logs.length === 0 ? [] : bundle.logEntries) {
    const finding = checkInclusion(entry, root.logs, promiseSuffices, moments);
    const problem = 'problem' in finding ? finding.problem : bodyFlaw(entry, bundle, message, signer);
    if (problem !== undefined || 'problem' in finding)
      return no('TRUST_SIGSTORE_LOG', `its entry in a transparency log does not count: ${problem}`);
    const known = finding.time === undefined ? stampTimes : [finding.time];
    const { log } = finding;
    if (known.length > 0 && !known.some((time) => isWithin(time, log.validFor)))
      return no('TRUST_SIGSTORE_LOG', `the transparency log ${log.name} was not trusted when it was signed`);
    // Without a proven time, the entry may be as young as this verification.
    if (known.length === 0 && !isWithin(now.getTime(), log.validFor)) {
      const { start } = log.validFor;
      return {
        code: 'TRUST_SIGSTORE_TIME',
        problem: `the transparency log ${log.name} is not trusted now, and nothing proves when it was signed`,
        ...(start > now.getTime() ? { countsFrom: start } : {}),
      };
    }
    if (known.length === 0) untimed.push(log);
    logs.push(log);
    if (finding.time !== undefined) logTimes.push(finding.time);
  }
  return { logs, logTimes, untimed };
}

function missing(what: string, found: number, needed: number): string {
  return found === 0
    ? `it has no proof of a ${what} that is trusted`
    : `it has proofs of ${found} of the ${needed} ${what}s that are needed`;
}

function certificateFlaw(
  leaf: Certificate,
  others: readonly Certificate[] = [],
  times: readonly ProvenTime[],
  { bundle, thresholds }: VerifyInput,
  root: TrustedRoot,
): NotVerified | undefined {
  // A certificate valid for minutes proves nothing without a proven time.
  if (times.length === 0)
    return no('TRUST_SIGSTORE_TIME', 'nothing proves when it was made: no signed log time and no time stamp');
  // sigstore_bundle.proto: roots do not belong in bundles; cosign's older form does carry one.
  if (
    bundle.version !== 'legacy' &&
    [leaf, ...others].some((one) => one.isAuthority && one.issuer.equals(one.subject))
  )
    return no('TRUST_SIGNATURE_MALFORMED', 'it contains a root certificate');
  if (leaf.isAuthority || leaf.keyUsage === undefined || (leaf.keyUsage & keyUsageBit.digitalSignature) === 0)
    return no('TRUST_SIGSTORE_CERTIFICATE', 'its certificate is not for signatures');
  if (leaf.extendedKeyUsage?.includes(codeSigningOid) !== true)
    return no('TRUST_SIGSTORE_CERTIFICATE', 'its certificate is not for code signing');
  if (!leaf.extensions.has(extensionOid.subjectAltName))
    return no('TRUST_SIGSTORE_CERTIFICATE', 'its certificate names no identity');
  const moments = times.map(({ time }) => time);
  let problem = no(
    'TRUST_SIGSTORE_CERTIFICATE',
    'no authority of the trusted root has issued its certificate',
  );
  for (const { chain, validFor, name } of root.authorities) {
    const anchor = chain.at(-1);
    if (anchor === undefined) continue;
    const found = findPath(
      leaf,
      { anchors: [anchor], intermediates: [...chain.slice(0, -1), ...others] },
      moments,
      codeSigningOid,
    );
    if ('problem' in found) {
      if (found.problem !== noIssuer || root.authorities.length === 1)
        problem = no('TRUST_SIGSTORE_CERTIFICATE', `its certificate does not count: ${found.problem}`);
      continue;
    }
    if (!moments.every((time) => isWithin(time, validFor))) {
      problem = no('TRUST_SIGSTORE_CERTIFICATE', `the authority ${name} was not trusted when it was made`);
      continue;
    }
    const issuer = found.path[1];
    if (issuer === undefined) continue;
    const seen = checkCertificateTimeStamps(leaf, issuer, root.certificateLogs);
    const count = 'problem' in seen ? 0 : distinctServices(seen.logs);
    if (count >= thresholds.certificateLogs) return undefined;
    problem = no(
      'TRUST_SIGSTORE_CERTIFICATE_LOG',
      'problem' in seen
        ? `its certificate is not in a trusted certificate log: ${seen.problem}`
        : missing('certificate log', count, thresholds.certificateLogs),
    );
  }
  return problem;
}

const noIssuer = 'no trusted authority has issued the certificate';

function no(code: SigstoreCode, problem: string): NotVerified {
  return { code, problem };
}
