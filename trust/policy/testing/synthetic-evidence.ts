import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import {
  bundleMediaType,
  inTotoPayloadType,
  signatureAnnotation,
  simpleSigningMediaType,
  statementType,
} from '../../evidence/cosign-names.ts';
import { predicateTypeOf } from '../../attestation/predicate-types.ts';
import { writePem } from '../../../base/pem/index.ts';
import { sealDossier } from '../../evidence/dossier.ts';
import { sha256Digest } from '../../json/canonical-json.ts';
import { policyKey } from '../../keys/public-key.ts';
import { imageStatement, signBundle } from '../../signing/dsse-bundle.ts';
import { keySigner } from '../../signers/signer.ts';
import type { Signer } from '../../signers/signer.ts';
import { makeSimpleSigningPayload } from '../../signing/simple-signing-payload.ts';
import type { Dossier, EvidenceItem } from '../../findings/types.ts';
import { normaliseReference } from '../../requirements/named-images.ts';

/** A key of a test: the private half signs, the public half replaces a key file of the policy. */
export interface TestKey {
  readonly signer: Signer;
  readonly publicPem: Buffer;
}

/** The evidence that a test case states. */
export interface StatedEvidence {
  readonly image: string;
  readonly index: boolean;
  readonly signed: readonly StatedSignature[];
  readonly attested: readonly StatedAttestation[];
  readonly unreachable: boolean;
}

interface Over {
  readonly over?: 'index' | 'manifest' | 'other';
}

export interface StatedSignature extends Over {
  readonly key: string;
  readonly format?: 'bundle' | 'legacy';
  readonly annotations?: Readonly<Record<string, string>>;
  readonly name?: string;
}

export interface StatedAttestation extends Over {
  readonly key: string;
  readonly type: string;
  readonly predicate?: Readonly<Record<string, unknown>>;
}

/** Generates a new ECDSA P-256 key. */
export function makeTestKey(name: string): TestKey {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = policyKey(name, createPublicKey(pair.privateKey));
  if ('problem' in key) throw new Error(key.problem);
  return {
    signer: keySigner({ public: key, private: pair.privateKey }),
    publicPem: Buffer.from(writePem('PUBLIC KEY', Buffer.from(key.spki, 'base64'))),
  };
}

/**
 * Makes and signs the evidence that a case states. Returns the dossier that a registry with such artifacts
 * would give.
 */
export async function makeDossier(
  stated: StatedEvidence,
  keyOf: (name: string) => TestKey,
  now: Date,
): Promise<Dossier> {
  const reference = normaliseReference(stated.image);
  const manifestDigest = sha256Digest(`manifest of ${reference.text}`);
  const index = stated.index ? sha256Digest(`index of ${reference.text}`) : manifestDigest;
  const digest = reference.digest ?? index;
  const place: Place = {
    registry: reference.registry,
    repository: `${reference.registry}/${reference.repository}`,
    digests: {
      index: digest,
      manifest: stated.index ? manifestDigest : digest,
      other: sha256Digest('another image'),
    },
  };
  const items = [
    ...(await Promise.all(stated.signed.map((one) => signature(one, keyOf(one.key).signer, place)))),
    ...(await Promise.all(stated.attested.map((one) => attestation(one, keyOf(one.key).signer, place)))),
  ];
  return sealDossier({
    reference: reference.text,
    digest,
    manifestDigest: place.digests.manifest,
    items,
    unreachable: stated.unreachable ? [{ source: reference.registry, why: 'the test says so' }] : [],
    gatheredAt: now.toISOString(),
  });
}

interface Place {
  readonly registry: string;
  readonly repository: string;
  readonly digests: Readonly<Record<'index' | 'manifest' | 'other', string>>;
}

async function signature(stated: StatedSignature, signer: Signer, place: Place): Promise<EvidenceItem> {
  const { format = 'bundle', over = 'manifest', annotations = {}, name = place.repository } = stated;
  const digest = place.digests[over];
  if (format === 'bundle') {
    return item(
      'sigstore-bundle',
      await signBundle(imageStatement(digest, annotations), signer),
      bundleMediaType,
      over,
      place,
    );
  }
  const payload = makeSimpleSigningPayload(digest, name, annotations);
  const made = item('cosign-simple-signing', payload, simpleSigningMediaType, over, place);
  return { ...made, annotations: { [signatureAnnotation]: (await signer.sign(payload)).toString('base64') } };
}

async function attestation(stated: StatedAttestation, signer: Signer, place: Place): Promise<EvidenceItem> {
  const { over = 'manifest', type, predicate = {} } = stated;
  const subject = [{ digest: { sha256: place.digests[over].slice('sha256:'.length) } }];
  const statement = Buffer.from(
    JSON.stringify({
      _type: statementType,
      subject,
      predicateType: predicateTypeOf(type) ?? type,
      predicate,
    }),
  );
  return item(
    'attestation',
    await signBundle(statement, signer, inTotoPayloadType),
    bundleMediaType,
    over,
    place,
  );
}

function item(
  kind: EvidenceItem['kind'],
  bytes: Buffer,
  mediaType: string,
  over: 'index' | 'manifest' | 'other',
  place: Place,
): EvidenceItem {
  return {
    kind,
    attachedTo: over === 'index' ? place.digests.index : place.digests.manifest,
    foundBy: 'referrers',
    servedBy: place.registry,
    manifestDigest: sha256Digest(`manifest of ${sha256Digest(bytes)}`),
    blobDigest: sha256Digest(bytes),
    mediaType,
    annotations: {},
    bytes: bytes.toString('base64'),
  };
}
