import { attempt } from '../../base/errors/index.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import { emptyType } from '../evidence/cosign-names.ts';
import type { Collector, FactsStanding, GatheringContext, LeafRequirement } from '../evidence/collector.ts';
import { decodeBase64 } from '../json/strict-json.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { Certificate } from '../x509/certificate.ts';
import { openEnvelope } from './envelope.ts';
import type { Envelope } from './envelope.ts';
import { envelopeMediaTypes, notationArtifactType } from './media-types.ts';
import type { NotationRequirement } from '../requirements/notation.ts';
import { bytesOf, certificateAnnotation, judgeChain, ocspStatus, urlAnnotation } from './revocation/judge.ts';
import { deltaUrls } from './revocation/crl.ts';
import { askRevocation } from './revocation/fetch.ts';
import { ocspRequest } from './revocation/ocsp.ts';
import { trusted } from './stores.ts';
import { verifyTimestamp } from './timestamp.ts';
import { authenticity, mustBeStamped } from './validate.ts';

/**
 * Collects Notary Project signatures from the referrers (signature-specification.md, "OCI Signatures"), each
 * with the manifest that it signs. Then collects the revocation answers of their authorities, because
 * `decide` may not request them.
 */
const signatures: Collector = {
  kind: 'notation-signature',
  at: 'referrers',
  wants: ({ artifactType }) =>
    artifactType === undefined || artifactType === notationArtifactType || artifactType === emptyType,
  layers: (manifest) => {
    const type = manifest.artifactType ?? manifest.config.mediaType;
    return type === notationArtifactType
      ? manifest.layers.filter(({ mediaType }) => envelopeMediaTypes.includes(mediaType)).slice(0, 1)
      : [];
  },
  judge: () => 'with-subject',
  complete: gatherRevocation,
  renewable: {
    kinds: ['ocsp-response', 'crl'],
    keyOf: ({ kind, annotations }) =>
      JSON.stringify([kind, annotations[urlAnnotation], annotations[certificateAnnotation]]),
    standing: existing,
  },
};

export const notationCollectors: readonly Collector[] = [signatures];

/** Maximum bytes of an OCSP answer, and milliseconds to wait for one, as in notation. */
const ocspLimits = { maximumBytes: 20 * 1024, milliseconds: 2000 } as const;
const crlMilliseconds = 5000;

/** A certificate whose revocation is requested, with its issuer. */
interface Link {
  readonly certificate: Certificate;
  readonly issuer: Certificate;
}

/**
 * Requests the revocation of the certificates that the collected signatures depend on. Only chains that lead
 * to a trust store of a rule are followed: anyone could make any other certificate, and must not direct this
 * machine to addresses of their choice.
 */
async function gatherRevocation(context: GatheringContext): Promise<void> {
  const links = new Map<string, Link>();
  for (const chain of decidingChains(context)) {
    for (const [index, certificate] of chain.slice(0, -1).entries())
      links.set(certificate.thumbprint, { certificate, issuer: chain[index + 1] as Certificate });
  }
  await Promise.all([...links.values()].map((link) => askFor(link, context)));
}

function decidingChains({
  collection,
  input,
  wanted,
}: GatheringContext): readonly (readonly Certificate[])[] {
  const requirements = wanted.filter(isNotation);
  return collection.items().flatMap((item) => {
    const envelope = item.kind === 'notation-signature' ? opened(item) : undefined;
    return envelope === undefined
      ? []
      : requirements.flatMap((requirement) => chainsOf(envelope, requirement, input.now.getTime()));
  });
}

/** Returns the status of each chain that decides. */
function existing(context: GatheringContext): readonly FactsStanding[] {
  const { collection, input } = context;
  return decidingChains(context).map((chain) => {
    const { status, until } = judgeChain(chain, collection.items(), input.now.getTime());
    return { status: standings[status], ...(until === undefined ? {} : { until }) };
  });
}

const standings = { good: 'good', revoked: 'refuted', unknown: 'missing' } as const;

function isNotation(requirement: LeafRequirement): requirement is NotationRequirement {
  return requirement.kind === 'notation';
}

function opened(item: EvidenceItem): Envelope | undefined {
  const bytes = decodeBase64(item.bytes);
  return attempt(() => (bytes === undefined ? undefined : openEnvelope(item.mediaType, bytes)));
}

/**
 * Returns the chains whose revocation decides about an envelope under a requirement: the signer's, and the
 * timestamp authority's.
 */
function chainsOf(
  envelope: Envelope,
  requirement: NotationRequirement,
  now: number,
): readonly (readonly Certificate[])[] {
  if (authenticity(envelope, requirement).outcome !== 'passed') return [];
  const chains = requirement.actions.revocation === 'skip' ? [] : [envelope.chain];
  if (envelope.timestamp === undefined || !mustBeStamped(envelope, requirement, now)) return chains;
  try {
    return [
      ...chains,
      verifyTimestamp(envelope.timestamp, envelope.signature, trusted(requirement, 'tsa')).chain,
    ];
  } catch {
    return chains;
  }
}

/**
 * Asks OCSP first, each responder until one answers. Revocation lists are fetched when no responder is named
 * or none answers.
 */
async function askFor({ certificate, issuer }: Link, context: GatheringContext): Promise<void> {
  const { collection, input } = context;
  const now = input.now.getTime();
  const status = (): string | undefined => ocspStatus(certificate, issuer, collection.items(), now)?.status;
  for (const url of certificate.ocspUrls.slice(0, 4)) {
    if (status() === 'good' || status() === 'revoked') return;
    const body = ocspRequest(certificate, issuer);
    await ask(
      context,
      'ocsp-response',
      { [urlAnnotation]: url, [certificateAnnotation]: certificate.thumbprint },
      { body, ...ocspLimits },
    );
  }
  if (status() === 'good' || status() === 'revoked') return;
  for (const url of certificate.crlUrls.slice(0, 4)) {
    const limits = { maximumBytes: collection.limits.blobBytes, milliseconds: crlMilliseconds };
    await ask(context, 'crl', { [urlAnnotation]: url }, limits);
    const list = bytesOf(
      collection
        .items()
        .find(({ kind, annotations }) => kind === 'crl' && annotations[urlAnnotation] === url),
    );
    if (typeof list === 'string') continue;
    for (const delta of deltaUrls(list, issuer).slice(0, 4))
      await ask(context, 'crl', { [urlAnnotation]: delta }, limits);
  }
}

/** The requests of one gathering, so that certificates which share a list request it only once. */
const asking = new WeakMap<GatheringContext, Map<string, Promise<void>>>();

async function ask(
  context: GatheringContext,
  kind: 'ocsp-response' | 'crl',
  annotations: Readonly<Record<string, string>>,
  limits: { readonly body?: Uint8Array; readonly maximumBytes: number; readonly milliseconds: number },
): Promise<void> {
  const known = asking.get(context) ?? new Map<string, Promise<void>>();
  asking.set(context, known);
  const key = JSON.stringify([kind, annotations]);
  const begun = known.get(key) ?? fetchItem(context, kind, annotations, limits);
  known.set(key, begun);
  await begun;
}

async function fetchItem(
  { collection, input, answers }: GatheringContext,
  kind: 'ocsp-response' | 'crl',
  annotations: Readonly<Record<string, string>>,
  limits: { readonly body?: Uint8Array; readonly maximumBytes: number; readonly milliseconds: number },
): Promise<void> {
  const url = annotations[urlAnnotation] ?? '';
  const fetch = (): Promise<Uint8Array | string> =>
    input.offline === true
      ? Promise.resolve('nobody is asked')
      : askRevocation({ url, ...limits }, collection.signal);
  const answer = await (answers === undefined
    ? fetch()
    : answers.ask(JSON.stringify([kind, annotations]), fetch));
  const item = {
    kind,
    attachedTo: input.manifestDigest,
    foundBy: `the address ${url.slice(0, 512)}`,
    servedBy: hostOf(url),
    manifestDigest: '',
    mediaType: kind === 'crl' ? 'application/pkix-crl' : 'application/ocsp-response',
    annotations,
  } as const;
  if (typeof answer === 'string') collection.add({ ...item, blobDigest: '', problem: answer });
  else if (collection.reserve(answer.byteLength, url))
    collection.add({
      ...item,
      blobDigest: sha256Digest(answer),
      bytes: Buffer.from(answer).toString('base64'),
    });
}

function hostOf(url: string): string {
  return attempt(() => new URL(url).host) ?? '';
}
