import { smallest } from '../../base/lists/index.ts';
import { describeCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { isSubset, parseSubject, subjectOf } from './distinguished-name.ts';
import type { Envelope } from './envelope.ts';
import type { NotationRequirement, ValidationAction, ValidationType } from '../requirements/notation.ts';
import { judgeChain } from './revocation/judge.ts';
import type { RevocationItem } from './revocation/judge.ts';
import { timeText } from './revocation/status.ts';
import { placeOf, trusted } from './stores.ts';
import { verifyTimestamp } from './timestamp.ts';
import type { VerifiedTimestamp } from './timestamp.ts';

/** The result of one validation of the Notary Project. Times are in milliseconds since 1970. */
export interface Validation {
  readonly type: ValidationType;
  readonly action: ValidationAction;
  /** `unknown`: the facts to decide it are not available. */
  readonly outcome: 'passed' | 'failed' | 'unknown';
  /** A clause about the signature, after "because" or "but". */
  readonly says: string;
  /** After this time the outcome may change. */
  readonly validUntil?: number;
  /** The time that a timestamp proves. */
  readonly stampedAt?: number;
}

type Outcome = Omit<Validation, 'type' | 'action'>;

/**
 * Validates an envelope whose integrity is proven: authenticity, expiry, authentic timestamp and revocation.
 * All of them run, whatever the level does with the result (trust-store-trust-policy.md, "Signature
 * Verification", steps 4 to 7). Pure.
 */
export function validate(
  envelope: Envelope,
  requirement: NotationRequirement,
  items: readonly RevocationItem[],
  now: Date,
): readonly Validation[] {
  const at = now.getTime();
  const { actions } = requirement;
  const entry = (type: ValidationType, outcome: Outcome): Validation => ({
    type,
    action: actions[type],
    ...outcome,
  });
  return [
    entry('authenticity', authenticity(envelope, requirement)),
    entry('expiry', expiry(envelope, at)),
    entry('authenticTimestamp', authenticTime(envelope, requirement, items, at)),
    entry('revocation', actions.revocation === 'skip' ? skipped : revocation(envelope, items, at)),
  ];
}

const skipped: Outcome = { outcome: 'failed', says: 'its revocation was not checked' };

/**
 * Checks that a certificate of the chain is in a trust store for its signing scheme, and that the signer is
 * one of the identities.
 */
export function authenticity(envelope: Envelope, requirement: NotationRequirement): Outcome {
  const type = envelope.scheme === 'notary.x509' ? 'ca' : 'signingAuthority';
  const anchors = trusted(requirement, type);
  const anchor = envelope.chain.find((certificate) => anchors.some((one) => one.raw.equals(certificate.raw)));
  if (anchor === undefined) {
    const none =
      anchors.length === 0
        ? ` (the rule names none of type ${type}, which its signing scheme ${envelope.scheme} requires)`
        : '';
    return { outcome: 'failed', says: `its chain contains no certificate of the rule's trust stores${none}` };
  }
  const leads = `its chain leads to ${placeOf(requirement, anchor)}`;
  const { identities } = requirement;
  if (identities === '*')
    return { outcome: 'passed', says: `${leads}, and the rule trusts every identity that it certifies` };
  const subject = subjectOf(envelope.leaf.subjectName.attributes);
  if ('problem' in subject)
    return {
      outcome: 'failed',
      says: `its signer cannot be one of the rule's identities: ${subject.problem}`,
    };
  for (const identity of identities) {
    const wanted = parseSubject(identity);
    if (!('problem' in wanted) && isSubset(wanted, subject))
      return { outcome: 'passed', says: `${leads}, and its signer is ${identity}` };
  }
  return {
    outcome: 'failed',
    says: `its signer "${envelope.leaf.subjectName.text}" is not one of the rule's identities`,
  };
}

function expiry({ expiry: end }: Envelope, now: number): Outcome {
  if (end === undefined) return { outcome: 'passed', says: 'it does not expire' };
  return now < end
    ? { outcome: 'passed', says: `it is valid until ${timeText(end)}`, validUntil: end }
    : { outcome: 'failed', says: `it expired at ${timeText(end)}` };
}

function authenticTime(
  envelope: Envelope,
  requirement: NotationRequirement,
  items: readonly RevocationItem[],
  now: number,
): Outcome {
  const { chain, scheme, signingTime } = envelope;
  if (scheme === 'notary.x509.signingAuthority') {
    const wrong = outside(chain, signingTime, signingTime);
    return wrong === undefined
      ? {
          outcome: 'passed',
          says: `according to the signing authority, it was signed at ${timeText(signingTime)}, and its certificates were valid then`,
        }
      : {
          outcome: 'failed',
          says: `its certificate ${describeCertificate(wrong)} was not valid when it was signed, at ${timeText(signingTime)}`,
        };
  }
  if (!mustBeStamped(envelope, requirement, now)) return validNow(chain, now);
  if (envelope.timestamp === undefined)
    return { outcome: 'failed', says: 'it has no time stamp, which the rule requires' };
  let stamp: VerifiedTimestamp;
  try {
    stamp = verifyTimestamp(envelope.timestamp, envelope.signature, trusted(requirement, 'tsa'));
  } catch (error) {
    return { outcome: 'failed', says: `its time stamp does not count: ${(error as Error).message}` };
  }
  const wrong = outside(chain, stamp.time - stamp.accuracy, stamp.time + stamp.accuracy);
  if (wrong !== undefined)
    return {
      outcome: 'failed',
      says: `its certificate ${describeCertificate(wrong)} was not valid at the stamped time, ${timeText(stamp.time)}`,
    };
  const status = judgeChain(stamp.chain, items, now);
  const says = `its time stamp is dated ${timeText(stamp.time)}`;
  if (status.status !== 'good')
    return {
      outcome: status.status === 'revoked' ? 'failed' : 'unknown',
      says: `${says}, but its authority does not count: ${status.says}`,
    };
  return {
    outcome: 'passed',
    says,
    stampedAt: stamp.time,
    ...(status.until === undefined ? {} : { validUntil: status.until }),
  };
}

/**
 * Returns whether a timestamp must prove the time. This applies when the rule trusts timestamp authorities:
 * always, or once a certificate of the chain has expired (trust-store-trust-policy.md, "Timestamp
 * countersignature verification details").
 */
export function mustBeStamped(
  { chain, scheme }: Envelope,
  requirement: NotationRequirement,
  now: number,
): boolean {
  if (scheme !== 'notary.x509' || trusted(requirement, 'tsa').length === 0) return false;
  return requirement.verifyTimestamp === 'always' || chain.some(({ notAfter }) => now > notAfter);
}

function validNow(chain: readonly Certificate[], now: number): Outcome {
  const wrong = outside(chain, now, now);
  if (wrong === undefined) {
    // Still valid during the last millisecond.
    const end = smallest(chain.map(({ notAfter }) => notAfter)) + 1;
    return { outcome: 'passed', says: 'its certificates are valid now', validUntil: end };
  }
  return now < wrong.notBefore
    ? {
        outcome: 'failed',
        says: `its certificate ${describeCertificate(wrong)} is not valid before ${timeText(wrong.notBefore)}`,
        validUntil: wrong.notBefore,
      }
    : {
        outcome: 'failed',
        says: `its certificate ${describeCertificate(wrong)} expired at ${timeText(wrong.notAfter)}`,
      };
}

function outside(chain: readonly Certificate[], from: number, to: number): Certificate | undefined {
  return chain.find(({ notBefore, notAfter }) => from < notBefore || to > notAfter);
}

function revocation(
  { chain, scheme, signingTime }: Envelope,
  items: readonly RevocationItem[],
  now: number,
): Outcome {
  const status = judgeChain(
    chain,
    items,
    now,
    scheme === 'notary.x509.signingAuthority' ? signingTime : undefined,
  );
  if (status.status === 'good')
    return {
      outcome: 'passed',
      says: status.says,
      ...(status.until === undefined ? {} : { validUntil: status.until }),
    };
  return status.status === 'revoked'
    ? { outcome: 'failed', says: `a certificate was revoked: ${status.says}` }
    : { outcome: 'unknown', says: `it is not known whether a certificate was revoked: ${status.says}` };
}
