import { bundleMediaTypes, cosignPredicateType, inTotoPayloadType, statementType } from '../evidence/cosign-names.ts';
import { sha256Digest } from '../canonical-json.ts';
import { preAuthEncoding } from '../dsse.ts';
import { bundleKeyHint, signerOfKey } from '../keys/public-key.ts';
import { verifySignature } from '../keys/verify-signature.ts';
import type { EvidenceItem, PolicyKey } from '../types.ts';
import { ed25519Note, judgeDigests, malformed, otherClaim } from './signature-finding.ts';
import type { SignatureFinding, Subject } from './signature-finding.ts';
import { decodeBase64, parseStrictJson, recordOf, textsOf } from '../strict-json.ts';

/**
 * A sigstore bundle v0.3 made with a key: a DSSE envelope over an in-toto statement of cosign's sign predicate, or a message
 * signature over the manifest's bytes. No transparency log is asked of a key (design section 4).
 * Sources: sigstore/protobuf-specs sigstore_bundle.proto; DSSE protocol.md; in-toto Statement v1.
 */
export function checkBundle(item: EvidenceItem, bytes: Uint8Array, key: PolicyKey, subject: Subject): SignatureFinding {
  let bundle: Readonly<Record<string, unknown>> | undefined;
  try {
    bundle = recordOf(parseStrictJson(bytes));
  } catch (error) {
    return malformed((error as Error).message);
  }
  if (bundle === undefined || !bundleMediaTypes.includes(String(bundle['mediaType'])))
    return malformed('it is not a sigstore bundle of version 0.3');
  const hint = recordOf(recordOf(bundle['verificationMaterial'])?.['publicKey'])?.['hint'];
  const envelope = recordOf(bundle['dsseEnvelope']);
  const message = recordOf(bundle['messageSignature']);
  if ((envelope === undefined) === (message === undefined))
    return malformed('it holds not exactly one of dsseEnvelope and messageSignature');
  return envelope === undefined ? checkMessage(message ?? {}, item, key, hint, subject) : checkEnvelope(envelope, key, hint, subject);
}

function checkEnvelope(envelope: Readonly<Record<string, unknown>>, key: PolicyKey, hint: unknown, subject: Subject): SignatureFinding {
  const payload = decodeBase64(envelope['payload']);
  const signatures = envelope['signatures'];
  // A bundle's envelope has exactly one signature (sigstore_bundle.proto).
  if (payload === undefined || !Array.isArray(signatures) || signatures.length !== 1)
    return malformed('its envelope has no payload or not exactly one signature');
  const signature = decodeBase64(recordOf(signatures[0])?.['sig']);
  const payloadType = envelope['payloadType'];
  if (signature === undefined || typeof payloadType !== 'string') return malformed('its signature or payload type can not be read');
  const statement = readStatement(payload);
  if (!verifySignature(key, preAuthEncoding(payloadType, payload), signature))
    return wrongSignature(key, hint, otherClaim(statement.digests ?? [], subject));
  if (payloadType !== inTotoPayloadType) return malformed(`its payload is ${payloadType}, not an in-toto statement`);
  if (statement.problem !== undefined) return malformed(statement.problem);
  const { digests, annotations } = statement;
  return provenBy(key, judgeDigests(digests, subject, 'the signature'), annotations(subject));
}

function provenBy(key: PolicyKey, finding: SignatureFinding, annotations: Readonly<Record<string, string>> = {}): SignatureFinding {
  return finding.counted ? { ...finding, proven: { signer: signerOfKey(key), annotations } } : finding;
}

type Statement =
  | { readonly problem: string; readonly digests?: undefined }
  | {
      readonly digests: readonly string[];
      /** Those that were signed for the image's own digests: cosign writes them beside each subject. */
      readonly annotations: (subject: Subject) => Readonly<Record<string, string>>;
      readonly problem?: undefined;
    };

function readStatement(payload: Uint8Array): Statement {
  let statement: Readonly<Record<string, unknown>> | undefined;
  try {
    statement = recordOf(parseStrictJson(payload));
  } catch (error) {
    return { problem: `its statement: ${(error as Error).message}` };
  }
  if (statement?.['_type'] !== statementType) return { problem: 'its payload is not an in-toto statement of version 1' };
  if (statement['predicateType'] !== cosignPredicateType) {
    return {
      problem: `its statement says ${String(statement['predicateType']).slice(0, 200)}, which is not a signature of an image (${cosignPredicateType})`,
    };
  }
  const subjects = statement['subject'];
  if (!Array.isArray(subjects)) return { problem: 'its statement names no subject' };
  const named = subjects.flatMap((entry: unknown) => {
    const hex = recordOf(recordOf(entry)?.['digest'])?.['sha256'];
    const annotations = textsOf(recordOf(entry)?.['annotations']);
    return typeof hex === 'string' && /^[0-9a-f]{64}$/.test(hex) ? [{ digest: `sha256:${hex}`, annotations }] : [];
  });
  if (named.length === 0) return { problem: 'its statement names no sha256 digest' };
  const annotations = ({ digest, manifestDigest }: Subject): Readonly<Record<string, string>> =>
    (named.find((one) => one.digest === digest) ?? named.find((one) => one.digest === manifestDigest))?.annotations ?? {};
  return { digests: named.map(({ digest }) => digest), annotations };
}

/** A message signature is over the manifest itself, so the manifest's bytes are part of the evidence. */
function checkMessage(
  message: Readonly<Record<string, unknown>>,
  item: EvidenceItem,
  key: PolicyKey,
  hint: unknown,
  subject: Subject,
): SignatureFinding {
  const signature = decodeBase64(message['signature']);
  const manifest = decodeBase64(item.subjectBytes);
  if (signature === undefined) return malformed('its signature can not be read');
  if (manifest === undefined) return malformed('the manifest that it signs was not gathered with it');
  const claimed = recordOf(message['messageDigest']);
  const digest = sha256Digest(manifest);
  if (claimed !== undefined && (claimed['algorithm'] !== 'SHA2_256' || hexDigest(claimed['digest']) !== digest)) {
    const other = hexDigest(claimed['digest']);
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_OTHER_DIGEST',
      says: `it is a signature of another digest: it names ${other ?? 'none that can be read'}`,
    };
  }
  if (!verifySignature(key, manifest, signature)) return wrongSignature(key, hint, otherClaim([digest], subject));
  return provenBy(key, judgeDigests([digest], subject, 'the signature over the manifest'));
}

function hexDigest(base64: unknown): string | undefined {
  const bytes = decodeBase64(base64);
  return bytes === undefined ? undefined : `sha256:${bytes.toString('hex')}`;
}

/** The hint is not proof; it only tells a foreign key from damage when the signature has failed already. */
function wrongSignature(key: PolicyKey, hint: unknown, claim: string): SignatureFinding {
  const own = bundleKeyHint(key.spki);
  if (typeof hint === 'string' && hint !== own) {
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_OTHER_KEY',
      says: `it was made by another key: it names the key ${hint.slice(0, 100)}, and ours is ${own}${claim}`,
    };
  }
  return {
    counted: false,
    code: 'TRUST_SIGNATURE_WRONG',
    says: `the signature does not fit its payload and this key: one of the two was changed${ed25519Note(key)}${claim}`,
  };
}
