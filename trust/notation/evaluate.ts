import { createHash } from 'node:crypto';
import { smallest } from '../../base/lists/index.ts';
import { parseStrictJson, decodeBase64, recordOf } from '../json/strict-json.ts';
import type { EvidenceItem, Reason } from '../findings/types.ts';
import { evaluateAuthority } from '../findings/authority.ts';
import type { Evaluation, EvaluationContext, Evidence } from '../findings/evaluation.ts';
import { bytesOf } from '../findings/item-bytes.ts';
import { judgeDigests, malformed } from '../findings/signature-finding.ts';
import type { SignatureFinding } from '../findings/signature-finding.ts';
import { signerOfKeyObject } from '../keys/canonical-spki.ts';
import { describeCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { openEnvelope, WrongSignature } from './envelope.ts';
import type { Envelope } from './envelope.ts';
import { coseMediaType } from './media-types.ts';
import { describeNotation } from '../requirements/notation.ts';
import type { NotationRequirement } from '../requirements/notation.ts';
import { validate } from './validate.ts';
import type { Validation } from './validate.ts';

/** Evaluates a `notation` requirement over the evidence. Pure and synchronous; never throws. */
export function evaluateNotation(
  requirement: NotationRequirement,
  evidence: Evidence,
  context: EvaluationContext,
): Evaluation {
  const checked = evidence.items
    .filter(({ kind }) => kind === 'notation-signature')
    .map((item) => ({
      place: describeItem(item, evidence),
      finding: checkSignature(item, requirement, evidence, context.now),
    }));
  return evaluateAuthority(
    describeNotation(requirement),
    checked,
    requirement.constraints,
    evidence,
    context,
  );
}

/**
 * Checks whether an item is a Notary Project signature of this image that the requirement's level admits.
 * Returns the outcome of every validation.
 */
function checkSignature(
  item: EvidenceItem,
  requirement: NotationRequirement,
  evidence: Evidence,
  now: Date,
): SignatureFinding {
  const { bytes, refused } = bytesOf(item, (read) => digestLike(item.blobDigest, read));
  if (refused !== undefined) return refused;
  let envelope: Envelope;
  try {
    envelope = openEnvelope(item.mediaType, bytes);
  } catch (error) {
    return error instanceof WrongSignature
      ? { counted: false, code: 'TRUST_SIGNATURE_WRONG', says: error.message }
      : malformed((error as Error).message);
  }
  const integrity = checkTarget(envelope, item, evidence);
  if (!integrity.counted) return integrity;
  return summarise(integrity, envelope, validate(envelope, requirement, evidence.items, now), requirement);
}

/**
 * Checks the signed descriptor, which must be the one of the manifest that the signature is attached to:
 * digest, size and media type.
 */
function checkTarget({ target, leaf }: Envelope, item: EvidenceItem, evidence: Evidence): SignatureFinding {
  const finding = judgeDigests([target.digest], evidence, `the signature by ${describeCertificate(leaf)}`);
  if (!finding.counted) return finding;
  const fails = (code: string, says: string): SignatureFinding => ({ counted: false, code, says });
  if (target.digest !== item.attachedTo)
    return fails(
      'TRUST_SIGNATURE_OTHER_DIGEST',
      `it is a signature of ${target.digest}, but is attached to ${item.attachedTo}`,
    );
  const subject = decodeBase64(item.subjectBytes);
  if (subject === undefined || digestLike(item.attachedTo, subject) !== item.attachedTo)
    return fails(
      'TRUST_EVIDENCE_UNUSABLE',
      'the manifest that it signs is not available, so size and media type cannot be compared',
    );
  if (subject.length !== target.size)
    return fails(
      'TRUST_SIGNATURE_OTHER_SIZE',
      `it names a manifest of ${target.size} bytes, but the manifest has ${subject.length}`,
    );
  const mediaType = mediaTypeOf(subject);
  if (mediaType !== undefined && mediaType !== target.mediaType)
    return fails('TRUST_SIGNATURE_OTHER_TYPE', `it names a manifest of another type than ${mediaType}`);
  return finding;
}

/**
 * Returns the media type in the manifest itself. Some OCI manifests state none; their digest then identifies
 * them fully.
 */
function mediaTypeOf(manifest: Uint8Array): string | undefined {
  try {
    const type = recordOf(parseStrictJson(manifest))?.['mediaType'];
    return typeof type === 'string' ? type : undefined;
  } catch {
    return undefined;
  }
}

function summarise(
  integrity: SignatureFinding,
  envelope: Envelope,
  validations: readonly Validation[],
  requirement: NotationRequirement,
): SignatureFinding {
  const failed = validations.filter(({ outcome, action }) => outcome !== 'passed' && action === 'enforce');
  const logged = validations.filter(({ outcome, action }) => outcome !== 'passed' && action === 'log');
  const notes = validations.map((validation) => noteOf(validation, requirement));
  const [first] = failed;
  if (first !== undefined) {
    const undecided = failed.every(({ outcome }) => outcome === 'unknown');
    const until = failed.find(({ validUntil }) => validUntil !== undefined)?.validUntil;
    return {
      counted: false,
      code: codes[first.type].enforce,
      says: `${integrity.says}; but ${failed.map(({ says }) => says).join(', and ')}`,
      ...(undecided ? { undecided } : {}),
      ...(undecided || until === undefined ? {} : { validUntil: new Date(until).toISOString() }),
      notes,
    };
  }
  const until = smallest(validations.map(({ validUntil }) => validUntil ?? Number.POSITIVE_INFINITY));
  const isAuthentic = validations.some(
    ({ type, outcome }) => type === 'authenticity' && outcome === 'passed',
  );
  return {
    ...integrity,
    code: logged.length === 0 ? integrity.code : 'TRUST_NOTATION_LOGGED',
    says: `${integrity.says}${logged.length === 0 ? '' : `; it counts although ${logged.map(({ says }) => says).join(', and ')}, because the rule only logs that`}`,
    ...(isAuthentic ? { proven: provenBy(envelope, validations) } : { unproven: true }),
    ...(Number.isFinite(until) ? { validUntil: new Date(until).toISOString() } : {}),
    notes,
  };
}

const codes = {
  authenticity: {
    enforce: 'TRUST_NOTATION_AUTHENTICITY',
    log: 'TRUST_NOTATION_AUTHENTICITY_LOGGED',
    skip: 'TRUST_NOTATION_AUTHENTICITY_LOGGED',
    passed: 'TRUST_NOTATION_AUTHENTICITY_PASSED',
  },
  authenticTimestamp: {
    enforce: 'TRUST_NOTATION_TIMESTAMP',
    log: 'TRUST_NOTATION_TIMESTAMP_LOGGED',
    skip: 'TRUST_NOTATION_TIMESTAMP_LOGGED',
    passed: 'TRUST_NOTATION_TIMESTAMP_PASSED',
  },
  expiry: {
    enforce: 'TRUST_NOTATION_EXPIRY',
    log: 'TRUST_NOTATION_EXPIRY_LOGGED',
    skip: 'TRUST_NOTATION_EXPIRY_LOGGED',
    passed: 'TRUST_NOTATION_EXPIRY_PASSED',
  },
  revocation: {
    enforce: 'TRUST_NOTATION_REVOCATION',
    log: 'TRUST_NOTATION_REVOCATION_LOGGED',
    skip: 'TRUST_NOTATION_REVOCATION_SKIPPED',
    passed: 'TRUST_NOTATION_REVOCATION_PASSED',
  },
} as const;

function noteOf({ type, outcome, action, says }: Validation, { level }: NotationRequirement): Reason {
  const passed = outcome === 'passed';
  const how =
    passed || action === 'enforce'
      ? ''
      : action === 'skip'
        ? ' (skipped by the rule)'
        : ` (only logged by the rule, level ${level})`;
  return {
    counted: passed,
    text: `${names[type]}: ${says}${how}`,
    code: codes[type][passed ? 'passed' : action],
  };
}

const names = {
  authenticity: 'authenticity',
  authenticTimestamp: 'authentic time',
  expiry: 'expiry',
  revocation: 'revocation',
} as const;

/**
 * Returns what proves the signing time. Without a timestamp it is only the signer's claim, which proves
 * nothing; a signing authority is trusted for its signing time.
 */
function provenBy(
  envelope: Envelope,
  validations: readonly Validation[],
): NonNullable<SignatureFinding['proven']> {
  const stamped = validations.find(({ stampedAt }) => stampedAt !== undefined)?.stampedAt;
  const reported = envelope.scheme === 'notary.x509.signingAuthority' ? envelope.signingTime : undefined;
  const time = stamped ?? reported;
  return {
    signer: `x509 sha256:${envelope.leaf.thumbprint}`,
    also: [signerOfKeyObject(envelope.leaf.key), ...nameByAuthority(envelope.leaf)],
    annotations: envelope.target.annotations,
    ...(time === undefined
      ? {}
      : {
          signedAt: {
            time: new Date(time).toISOString(),
            provenBy: stamped === undefined ? 'signer' : 'time stamp',
          },
        }),
  };
}

/**
 * Returns the name that the authority gives to the signer. It gives a name to one entity only, also when it
 * renews a certificate (RFC 5280, section 4.1.2.6). An empty subject names nobody.
 */
function nameByAuthority({ issuer, subject, subjectName }: Certificate): readonly string[] {
  if (subjectName.attributes.length === 0) return [];
  return [`x509 name sha256: ${createHash('sha256').update(issuer).update(subject).digest('hex')}`];
}

function describeItem(item: EvidenceItem, { digest, manifestDigest }: Evidence): string {
  const form =
    item.mediaType === coseMediaType ? 'Notary Project signature (COSE)' : 'Notary Project signature (JWS)';
  const place = item.attachedTo === digest && digest !== manifestDigest ? 'the index' : 'the manifest';
  return `${form} ${item.blobDigest || item.manifestDigest || '(unknown)'} beside ${place}, found by ${item.foundBy} at ${item.servedBy}`;
}

/** Returns the digest of `bytes` with the algorithm of another digest. */
function digestLike(digest: string, bytes: Uint8Array): string {
  const algorithm = /^(sha256|sha384|sha512):/.exec(digest)?.[1] ?? 'sha256';
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}
