import { keyUsageBits, readExtensions, readPointUrls } from '../certificate.ts';
import type { Certificate } from '../certificate.ts';
import { bitStringOf, childrenOf, contextTag, derTags, eachChild, expectTag, readDer, timeOf } from '../der.ts';
import type { Der } from '../der.ts';
import { oids } from '../names.ts';
import { readSignatureAlgorithm, verifyWith } from '../signature-algorithm.ts';
import { clockSkew, timeText, unknown } from './status.ts';
import type { RevocationStatus } from './status.ts';

/** A certificate revocation list (RFC 5280 section 5), read and not yet believed. */
interface RevocationList {
  readonly issuerRaw: Buffer;
  readonly thisUpdate: number;
  /** Absent in lists that never end, which do not count. */
  readonly nextUpdate?: number;
  readonly revoked?: Der;
  readonly extensions: ReturnType<typeof readExtensions>;
  readonly signed: { readonly bytes: Buffer; readonly algorithm: Der; readonly signature: Buffer };
}

/** Where the list of changes since a list is to be had (RFC 5280 section 5.2.6); none for a list that can not be read. */
export function deltaUrls(bytes: Uint8Array): readonly string[] {
  try {
    const freshest = readList(bytes).extensions.get(oids.freshestCrl);
    return freshest === undefined ? [] : readPointUrls(freshest.value.content);
  } catch {
    return [];
  }
}

/**
 * What a revocation list, and the list of changes since where it names one, say of a certificate at `now`.
 * Never throws: what can not be read is unknown.
 * @param delta the bytes found for a URL of {@link deltaUrls}
 * @param signingTime of signing authorities only, as in OCSP
 */
export function judgeCrl(
  bytes: Uint8Array,
  delta: (url: string) => Uint8Array | undefined,
  certificate: Certificate,
  issuer: Certificate,
  now: number,
  signingTime?: number,
): RevocationStatus {
  try {
    const base = readList(bytes);
    const lists = [base];
    const problem = listProblem(base, certificate, issuer, now);
    if (problem !== undefined) return unknown(`its revocation list ${problem}`);
    if (base.extensions.has(oids.deltaCrlIndicator)) return unknown('its revocation list holds changes only');
    const urls = deltaUrls(bytes);
    if (urls.length === 0 && certificate.hasFreshestCrl)
      return unknown('it names a list of changes that its revocation list does not name');
    for (const url of urls) {
      const changes = delta(url);
      if (changes === undefined) return unknown(`the list of changes to its revocation list, at ${url}, is not at hand`);
      const list = readList(changes);
      const wrong = listProblem(list, certificate, issuer, now) ?? deltaProblem(list, base);
      if (wrong !== undefined) return unknown(`the list of changes to its revocation list ${wrong}`);
      lists.push(list);
    }
    const revokedAt = findRevocation(lists, certificate, signingTime);
    if (revokedAt !== undefined) return { status: 'revoked', says: `its revocation list says it was revoked at ${timeText(revokedAt)}` };
    const until = Math.min(...lists.map(({ nextUpdate = now }) => nextUpdate));
    return { status: 'good', says: `its revocation list does not hold it, until ${timeText(until)}`, until };
  } catch (error) {
    return unknown(`its revocation list can not be used: ${(error as Error).message}`);
  }
}

function readList(bytes: Uint8Array): RevocationList {
  const [body, algorithm, signature] = childrenOf(readDer(bytes, derTags.sequence));
  const tbs = expectTag(body, derTags.sequence);
  const fields = childrenOf(tbs);
  const [inner, issuer, thisUpdate, ...rest] = fields[0]?.tag === derTags.integer ? fields.slice(1) : fields;
  const signedWith = expectTag(algorithm, derTags.sequence);
  if (!expectTag(inner, derTags.sequence).raw.equals(signedWith.raw)) throw new Error('it names two signature algorithms');
  const isTime = (part: Der): boolean => part.tag === derTags.utcTime || part.tag === derTags.generalizedTime;
  const next = rest.find(isTime);
  const revoked = rest.find((part) => part.tag === derTags.sequence);
  return {
    issuerRaw: expectTag(issuer, derTags.sequence).raw,
    thisUpdate: timeOf(thisUpdate),
    ...(next === undefined ? {} : { nextUpdate: timeOf(next) }),
    ...(revoked === undefined ? {} : { revoked }),
    extensions: readExtensions(rest.find((part) => part.tag === contextTag(0, 'constructed'))),
    signed: { bytes: tbs.raw, algorithm: signedWith, signature: bitStringOf(signature) },
  };
}

const understood: readonly string[] = [oids.issuingDistributionPoint, oids.deltaCrlIndicator];

function listProblem(list: RevocationList, certificate: Certificate, issuer: Certificate, now: number): string | undefined {
  if (!list.issuerRaw.equals(issuer.subjectRaw)) return "is another authority's than its issuer's";
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.bits.includes(keyUsageBits.crlSign))
    return 'is signed by an authority that may not sign such lists';
  if (!verifyWith(readSignatureAlgorithm(list.signed.algorithm), issuer.key, list.signed.bytes, list.signed.signature))
    return 'is not signed by its issuer';
  if (list.thisUpdate > now + clockSkew) return `is of ${timeText(list.thisUpdate)}, which is in the future`;
  if (list.nextUpdate === undefined) return 'does not say until when it holds';
  if (list.nextUpdate < now) return `held until ${timeText(list.nextUpdate)}`;
  for (const [oid, { critical }] of list.extensions)
    if (critical && !understood.includes(oid)) return `holds the critical extension ${oid}, which is not understood`;
  const point = list.extensions.get(oids.issuingDistributionPoint);
  return point === undefined ? undefined : scopeProblem(point.value.content, certificate);
}

/** IssuingDistributionPoint (RFC 5280 section 5.2.5): which certificates the list speaks about at all. */
function scopeProblem(value: Buffer, certificate: Certificate): string | undefined {
  const parts = childrenOf(readDer(value, derTags.sequence));
  const says = (number: number): boolean => parts.some((part) => part.tag === contextTag(number, 'primitive') && part.content[0] !== 0);
  const isAuthority = certificate.basicConstraints?.ca === true;
  if (says(1) && isAuthority) return 'is about certificates of users only';
  if (says(2) && !isAuthority) return 'is about certificates of authorities only';
  if (parts.some((part) => part.tag === contextTag(3, 'primitive'))) return 'is about some reasons of revocation only';
  if (says(4)) return 'is indirect, which is not supported';
  return says(5) ? 'is about attribute certificates only' : undefined;
}

function deltaProblem(delta: RevocationList, base: RevocationList): string | undefined {
  const number = (list: RevocationList, oid: string): bigint | undefined => {
    const extension = list.extensions.get(oid);
    const { content } = extension === undefined ? { content: undefined } : readDer(extension.value.content, derTags.integer);
    return content === undefined || content.length === 0 || content.length > 21 ? undefined : BigInt(`0x${content.toString('hex')}`);
  };
  const baseNumber = number(base, oids.crlNumber);
  const own = number(delta, oids.crlNumber);
  const since = number(delta, oids.deltaCrlIndicator);
  if (baseNumber === undefined || own === undefined || since === undefined) return 'does not say which list it changes';
  return own <= baseNumber || since > baseNumber ? 'does not belong to that list' : undefined;
}

const hold = 6;
const removed = 8;

/** When the certificate was revoked, over a list and its changes; a hold that a later entry lifts is none (RFC 5280 section 5.3.1). */
function findRevocation(lists: readonly RevocationList[], certificate: Certificate, signingTime: number | undefined): number | undefined {
  let held: { readonly time: number; readonly reason: number } | undefined;
  for (const { revoked } of lists) {
    if (revoked === undefined) continue;
    for (const entry of eachChild(revoked)) {
      const [serial, time, extensions] = childrenOf(expectTag(entry, derTags.sequence));
      if (!expectTag(serial, derTags.integer).content.equals(certificate.serial)) continue;
      const { reason, invalidFrom } = entryFacts(extensions);
      if (signingTime !== undefined && invalidFrom !== undefined && signingTime < invalidFrom) return undefined;
      const at = timeOf(time);
      if (reason !== hold && reason !== removed) return at;
      if (held === undefined || held.time < at) held = { time: at, reason };
    }
  }
  return held?.reason === hold ? held.time : undefined;
}

function entryFacts(extensions: Der | undefined): { readonly reason: number; readonly invalidFrom?: number } {
  // The entry's extensions stand without the tag that a certificate's have.
  const found = extensions === undefined ? new Map() : readExtensions({ ...extensions, content: extensions.raw });
  let reason = 0;
  let invalidFrom: number | undefined;
  for (const [oid, { critical, value }] of found as ReturnType<typeof readExtensions>) {
    if (oid === oids.reasonCode) reason = readDer(value.content, derTags.enumerated).content[0] ?? 0;
    else if (oid === oids.invalidityDate) invalidFrom = timeOf(readDer(value.content, derTags.generalizedTime));
    else if (critical) throw new Error(`an entry holds the critical extension ${oid}, which is not understood`);
  }
  return { reason, ...(invalidFrom === undefined ? {} : { invalidFrom }) };
}
