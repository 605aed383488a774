import { PortcullisError } from '../../base/errors/index.ts';
import { signatureAnnotation } from '../evidence/cosign-names.ts';
import { recordOf, textOf } from '../json/strict-json.ts';
import { identityCertificate } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import { verifierPem, witness } from '../signers/witness.ts';
import type { Witnessed } from '../signers/witness.ts';
import { legacyBundle } from '../sigstore/legacy-bundle.ts';
import { envelopeMessage } from '../sigstore/log-body.ts';
import { checkAnswers } from './check-answers.ts';
import type { ReadBack } from './check-answers.ts';

const logAnnotation = 'dev.sigstore.cosign/bundle';
const stampAnnotation = 'dev.sigstore.cosign/rfc3161timestamp';

/** Returns whether the annotations of a layer have an answer of each type of service that the signer asks. */
export function isWitnessed(
  annotations: Readonly<Record<string, string>>,
  { witnesses: { logs, timestamps } }: Signer,
): boolean {
  return (
    (logs.length === 0 || annotations[logAnnotation] !== undefined) &&
    (timestamps.length === 0 || annotations[stampAnnotation] !== undefined)
  );
}

/**
 * Signs a payload of cosign's older form. Returns the annotations of its layer, with the certificate, the
 * log's promise and the timestamp, if the signer has them (cosign, specs/SIGNATURE_SPEC.md).
 * @throws PortcullisError of the signer, `TRUST_WITNESS_FAILED`, `TRUST_FORMAT_UNFIT`
 */
export async function legacyAnnotationsOf(
  payload: Buffer,
  signer: Signer,
): Promise<Readonly<Record<string, string>>> {
  refuseOtherLogs(signer);
  const [log] = signer.witnesses.logs;
  if (log !== undefined && (signer.public.type === 'ed25519' || signer.public.type === 'ml-dsa'))
    throw unfit(
      log.url,
      'a Rekor v1 log receives the SHA-256 digest of the payload, over which Ed25519 and ML-DSA do not sign',
      'use another key',
    );
  const signature = await signer.sign(payload);
  const witnessed = await witnessAnnotations({ kind: 'message', message: payload, signature }, signer);
  return { [signatureAnnotation]: signature.toString('base64'), ...witnessed };
}

/**
 * Returns the annotations that a layer of cosign's older forms has beside the signature: certificate, log
 * entry, timestamp.
 * @throws PortcullisError `TRUST_WITNESS_FAILED`, `TRUST_FORMAT_UNFIT`
 */
export async function witnessAnnotations(
  content: Witnessed,
  signer: Signer,
): Promise<Readonly<Record<string, string>>> {
  refuseOtherLogs(signer);
  const { tlogEntries, timestampVerificationData } = await witness(content, signer);
  const stamp = timestampVerificationData?.rfc3161Timestamps[0]?.signedTimestamp;
  const entry = recordOf(tlogEntries?.[0]);
  const annotations = {
    ...(identityCertificate(signer) === undefined
      ? {}
      : { 'dev.sigstore.cosign/certificate': verifierPem(signer) }),
    ...(entry === undefined ? {} : { [logAnnotation]: JSON.stringify(promiseOf(entry)) }),
    ...(stamp === undefined ? {} : { [stampAnnotation]: JSON.stringify({ SignedRFC3161Timestamp: stamp }) }),
  };
  checkAnswers(signer, () => readBack(content, annotations));
  return annotations;
}

function readBack(signed: Witnessed, annotations: Readonly<Record<string, string>>): ReadBack {
  const bundle = legacyBundle(signed.signature, annotations);
  if (signed.kind === 'message') return { bundle, message: { bytes: signed.message, digests: {} } };
  const { payloadType, payload, signature, envelope } = signed;
  const content = { kind: 'dsse', payloadType, payload, signature } as const;
  return { bundle: { ...bundle, content, stamped: envelope }, message: envelopeMessage(content) };
}

function refuseOtherLogs(signer: Signer): void {
  const [log, ...others] = signer.witnesses.logs;
  if (log?.version === 2 || others.length > 0) {
    throw unfit(
      log?.url ?? '',
      'it can contain the promise of one Rekor v1 log, and nothing from a Rekor v2 log',
      'use a signing configuration that names one Rekor v1 log',
    );
  }
}

function unfit(on: string, why: string, otherwise: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_FORMAT_UNFIT',
    kind: 'invalid',
    attempted: 'sign in the legacy form',
    on,
    why,
    fix: `sign with --format bundle, or ${otherwise}`,
  });
}

/** Returns the log's promise as cosign writes it: numbers, and the log's id in hex. */
function promiseOf(entry: Readonly<Record<string, unknown>>): unknown {
  return {
    SignedEntryTimestamp: recordOf(entry['inclusionPromise'])?.['signedEntryTimestamp'],
    Payload: {
      body: entry['canonicalizedBody'],
      integratedTime: Number(entry['integratedTime']),
      logIndex: Number(entry['logIndex'] ?? 0),
      logID: Buffer.from(textOf(recordOf(entry['logId'])?.['keyId']) ?? '', 'base64').toString('hex'),
    },
  };
}
