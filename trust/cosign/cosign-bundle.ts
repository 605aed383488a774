import { sha256Digest } from '../json/canonical-json.ts';
import { cosignPredicateType, inTotoPayloadType, statementType } from '../evidence/cosign-names.ts';
import { bundleKeyHint } from '../keys/public-key.ts';
import { verifyForAuthority } from './authority.ts';
import type { SignatureCheck, SigstoreAuthority } from './authority.ts';
import type { AuthorityResult } from '../sigstore/authority-result.ts';
import { readBundle } from '../sigstore/bundle.ts';
import type { Bundle, BundleContent } from '../sigstore/bundle.ts';
import { decodeBase64, parseStrictJson, recordOf, textOf, textsOf } from '../json/strict-json.ts';
import type { EvidenceItem } from '../findings/types.ts';
import {
  annotationsBeside,
  judgeDigests,
  malformed,
  otherClaim,
  untilOf,
} from '../findings/signature-finding.ts';
import type { SignatureFinding, Subject } from '../findings/signature-finding.ts';

/**
 * Checks a sigstore bundle that signs an image, by a key or by an identity: a DSSE envelope over an in-toto
 * statement with cosign's sign predicate, or a message signature over the manifest's bytes. For a key, a
 * transparency log is needed only when the policy requires it. Sources: sigstore/protobuf-specs
 * sigstore_bundle.proto; DSSE protocol.md; in-toto Statement v1.
 */
export const checkBundle: SignatureCheck = (item, bytes, authority, subject, now) => {
  let bundle: Bundle;
  try {
    bundle = readBundle(bytes);
  } catch (error) {
    return malformed((error as Error).message);
  }
  const { content } = bundle;
  return content.kind === 'dsse'
    ? checkEnvelope(bundle, content, authority, subject, now)
    : checkMessage(bundle, content, item, authority, subject, now);
};

function checkEnvelope(
  bundle: Bundle,
  content: BundleContent & { kind: 'dsse' },
  authority: SigstoreAuthority,
  subject: Subject,
  now: Date,
): SignatureFinding {
  const statement = readStatement(content.payload);
  const result = verifyForAuthority(bundle, undefined, authority, now);
  if ('problem' in result)
    return refused(result, authority, bundle, otherClaim(statement.digests ?? [], subject));
  if (content.payloadType !== inTotoPayloadType)
    return malformed(`its payload is ${content.payloadType}, not an in-toto statement`);
  if (statement.problem !== undefined) return malformed(statement.problem);
  return provenBy(
    result,
    judgeDigests(statement.digests, subject, 'the signature'),
    annotationsBeside(statement.subjects, subject, authority.constraints?.signs),
  );
}

function provenBy(
  result: Extract<AuthorityResult, { readonly proven: object }>,
  finding: SignatureFinding,
  annotations: Readonly<Record<string, string>> = {},
): SignatureFinding {
  return finding.counted
    ? { ...finding, ...untilOf(result), proven: { ...result.proven, annotations } }
    : finding;
}

type Statement =
  | { readonly problem: string; readonly digests?: undefined }
  | {
      readonly digests: readonly string[];
      /** cosign writes the annotations beside each subject. */
      readonly subjects: Parameters<typeof annotationsBeside>[0];
      readonly problem?: undefined;
    };

function readStatement(payload: Uint8Array): Statement {
  let statement: Readonly<Record<string, unknown>> | undefined;
  try {
    statement = recordOf(parseStrictJson(payload));
  } catch (error) {
    return { problem: `its statement: ${(error as Error).message}` };
  }
  if (statement?.['_type'] !== statementType)
    return { problem: 'its payload is not an in-toto statement of version 1' };
  if (statement['predicateType'] !== cosignPredicateType) {
    return {
      problem: `its statement says ${(textOf(statement['predicateType']) ?? 'nothing').slice(0, 200)}, which is not a signature of an image (${cosignPredicateType})`,
    };
  }
  const subjects = statement['subject'];
  if (!Array.isArray(subjects)) return { problem: 'its statement names no subject' };
  const named = subjects.flatMap((entry: unknown) => {
    const hex = recordOf(recordOf(entry)?.['digest'])?.['sha256'];
    const annotations = textsOf(recordOf(entry)?.['annotations']);
    return typeof hex === 'string' && /^[0-9a-f]{64}$/.test(hex)
      ? [{ digest: `sha256:${hex}`, annotations }]
      : [];
  });
  if (named.length === 0) return { problem: 'its statement names no sha256 digest' };
  return { digests: named.map(({ digest }) => digest), subjects: named };
}

/**
 * Checks a message signature. It is over the manifest itself, so the manifest's bytes are part of the
 * evidence.
 */
function checkMessage(
  bundle: Bundle,
  content: BundleContent & { kind: 'message' },
  item: EvidenceItem,
  authority: SigstoreAuthority,
  subject: Subject,
  now: Date,
): SignatureFinding {
  const manifest = decodeBase64(item.subjectBytes);
  if (manifest === undefined) return malformed('the manifest that it signs was not gathered with it');
  const digest = sha256Digest(manifest);
  const claimed = claimOther(content, digest);
  if (claimed !== undefined)
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_OTHER_DIGEST',
      says: `it is a signature of another digest: it names ${claimed}`,
    };
  const result = verifyForAuthority(bundle, { bytes: manifest, digests: {} }, authority, now);
  if ('problem' in result) return refused(result, authority, bundle, otherClaim([digest], subject));
  return provenBy(result, judgeDigests([digest], subject, 'the signature over the manifest'));
}

/**
 * Returns the digest that the bundle claims beside its signature, if it is comparable and differs from the
 * image's digest.
 */
function claimOther(
  { digest }: BundleContent & { kind: 'message' },
  manifestDigest: string,
): string | undefined {
  // cosign hashes with the digest algorithm of the curve: only SHA-256 can be compared with the image's
  // digest.
  if (digest === undefined || digest.algorithm === 'SHA2_384' || digest.algorithm === 'SHA2_512')
    return undefined;
  const named =
    digest.algorithm === 'SHA2_256' ? `sha256:${digest.value.toString('hex')}` : 'none that can be read';
  return named === manifestDigest ? undefined : named;
}

function refused(
  result: Extract<AuthorityResult, { readonly problem: string }>,
  authority: SigstoreAuthority,
  { keyHint, certificates }: Bundle,
  claim: string,
): SignatureFinding {
  const { code, problem } = result;
  if (authority.kind !== 'cosign-key' || code !== 'TRUST_SIGNATURE_WRONG')
    return { counted: false, code, says: `${problem}${claim}`, ...untilOf(result) };
  const own = bundleKeyHint(authority.key.spki);
  // The hint is not proof. After the signature has failed, it only distinguishes a different key from damage.
  if (keyHint !== undefined && keyHint !== '' && keyHint !== own) {
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_OTHER_KEY',
      says: `it was made by another key: it names the key ${keyHint.slice(0, 100)}, and ours is ${own}${claim}`,
    };
  }
  if (certificates.length > 0)
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_OTHER_KEY',
      says: `it was made by an identity with a certificate, not by this key${claim}`,
    };
  return {
    counted: false,
    code,
    says: `the signature does not match its payload and this key: one of them was changed${claim}`,
  };
}
