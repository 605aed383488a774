import { createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { inTotoPayloadType } from '../evidence/cosign-names.ts';
import { keyFlaw } from '../keys/key-flaw.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import { readBundle } from './bundle.ts';
import type { Bundle } from './bundle.ts';
import { digestOfHashAlgorithm } from './key-details.ts';
import type { SignedMessage } from './log-body.ts';
import { readTrustedRoot } from './trusted-root.ts';
import type { TrustedRoot } from './trusted-root.ts';
import { defaultThresholds, verifyBundle } from './verify.ts';
import type { CertificateIdentity } from './identity.ts';

/** A file, or only its digest. */
export type Artifact = { readonly bytes: Uint8Array } | { readonly sha256: string };

/** A bundle, the artifact that it should be for, and the expected signer. */
export interface VerifyArtifactInput {
  /** A sigstore bundle's JSON. */
  readonly bundle: Uint8Array;
  readonly artifact: Artifact;
  /** PEM of the key that must have signed, or the identity, which is compared exactly. */
  readonly signer: { readonly key: string } | { readonly identity: string; readonly issuer: string };
  /** A `trusted_root.json`. */
  readonly trustedRoot: Uint8Array;
  readonly now: Date;
}

/** The signer of the artifact and the time (ISO 8601), or the reason why the signature does not count. */
export type ArtifactFinding =
  | { readonly verified: true; readonly identity?: CertificateIdentity; readonly signedAt: string }
  | { readonly verified: false; readonly code: string; readonly why: string };

/**
 * Verifies the bundle of a file as sigstore's clients do: one log entry, one proven time, one certificate
 * log. Never throws for faults of the bundle, key or root.
 */
export async function verifyArtifact(input: VerifyArtifactInput): Promise<ArtifactFinding> {
  await loadPrehashed();
  let bundle: Bundle;
  let root: TrustedRoot;
  let key: KeyObject | undefined;
  try {
    root = readTrustedRoot(input.trustedRoot);
  } catch (error) {
    return no('TRUST_SIGSTORE_ROOT', `the trusted root: ${(error as Error).message}`);
  }
  try {
    bundle = readBundle(input.bundle);
  } catch (error) {
    return no('TRUST_SIGNATURE_MALFORMED', `the bundle: ${(error as Error).message}`);
  }
  try {
    key = 'key' in input.signer ? createPublicKey(input.signer.key) : undefined;
  } catch {
    return no('TRUST_KEY_UNREADABLE', 'the key is not a readable PEM public key');
  }
  const unusable = key === undefined ? undefined : keyFlaw(key);
  if (unusable !== undefined) return no('TRUST_KEY_UNREADABLE', `the key cannot be used: ${unusable}`);
  const message = messageOf(input.artifact);
  const verified = verifyBundle({
    bundle,
    message,
    ...(key === undefined ? {} : { key }),
    root,
    thresholds: defaultThresholds,
    now: input.now,
  });
  if ('problem' in verified) return no(verified.code, verified.problem);
  const { identity, signedAt } = verified;
  const flaw = contentFlaw(bundle, message) ?? identityFlaw(identity, input.signer);
  if (flaw !== undefined) return flaw;
  if (signedAt === undefined) return no('TRUST_SIGSTORE_TIME', 'nothing proves when it was signed');
  return {
    verified: true,
    ...(identity === undefined ? {} : { identity }),
    signedAt: new Date(signedAt.time).toISOString(),
  };
}

function messageOf(artifact: Artifact): SignedMessage {
  if ('sha256' in artifact) return { digests: { sha256: artifact.sha256 } };
  return { bytes: artifact.bytes, digests: {} };
}

function digestOf({ bytes, digests }: SignedMessage, algorithm: string): string | undefined {
  return bytes === undefined ? digests[algorithm] : createHash(algorithm).update(bytes).digest('hex');
}

/**
 * The digest beside a message signature must be the artifact's; in an envelope, one subject must be the
 * artifact.
 */
function contentFlaw({ content }: Bundle, message: SignedMessage): ArtifactFinding | undefined {
  if (content.kind === 'message') {
    if (content.digest === undefined) return undefined;
    const algorithm = digestOfHashAlgorithm(content.digest.algorithm);
    const expected = algorithm === undefined ? undefined : digestOf(message, algorithm);
    return expected === content.digest.value.toString('hex')
      ? undefined
      : no('TRUST_SIGNATURE_OTHER_DIGEST', 'the bundle names another digest');
  }
  if (content.payloadType !== inTotoPayloadType)
    return no(
      'TRUST_SIGNATURE_MALFORMED',
      `its payload is ${content.payloadType.slice(0, 100)}, not an in-toto statement`,
    );
  let subjects: unknown;
  try {
    subjects = recordOf(parseStrictJson(content.payload))?.['subject'];
  } catch (error) {
    return no('TRUST_SIGNATURE_MALFORMED', `its statement: ${(error as Error).message}`);
  }
  const named = (Array.isArray(subjects) ? subjects : []).some((subject: unknown) => {
    const digests = recordOf(recordOf(subject)?.['digest']);
    return ['sha256', 'sha384', 'sha512'].some(
      (algorithm) =>
        digests?.[algorithm] !== undefined && digests[algorithm] === digestOf(message, algorithm),
    );
  });
  return named ? undefined : no('TRUST_SIGNATURE_OTHER_DIGEST', 'its statement is about something else');
}

function identityFlaw(
  identity: CertificateIdentity | undefined,
  signer: VerifyArtifactInput['signer'],
): ArtifactFinding | undefined {
  if ('key' in signer) return undefined;
  if (identity === undefined || identity.issuer !== signer.issuer)
    return no(
      'TRUST_SIGSTORE_IDENTITY',
      identity === undefined
        ? `it was made without an identity, not by one of ${signer.issuer}`
        : `it was made by an identity of ${identity.issuer}, not of ${signer.issuer}`,
    );
  if (identity.subjects.includes(signer.identity)) return undefined;
  return no(
    'TRUST_SIGSTORE_IDENTITY',
    `it was made by ${identity.subjects.join(', ')}, not by ${signer.identity}`,
  );
}

function no(code: string, why: string): ArtifactFinding {
  return { verified: false, code, why };
}
