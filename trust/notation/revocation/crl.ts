import { attempt } from '../../../base/errors/index.ts';
import { smallest } from '../../../base/lists/index.ts';
import { keyUsageBit } from '../../x509/certificate.ts';
import type { Certificate } from '../../x509/certificate.ts';
import { childrenOf, contextTag, derTag, DerError, eachChild, expectTag, onlyChild } from '../../x509/der.ts';
import type { DerElement } from '../../x509/der.ts';
import { readStrict } from '../../x509/der-strict.ts';
import {
  readBits,
  readGeneralizedTime,
  readInteger,
  readSmallInteger,
  readTime,
  readTrueOrAbsent,
} from '../../x509/der-values.ts';
import { extensionOid, readExtensions } from '../../x509/extensions.ts';
import type { Extension } from '../../x509/extensions.ts';
import { readPointUrls } from '../../x509/revocation-urls.ts';
import { isSignatureBy, readSignatureAlgorithm } from '../../x509/signature-algorithm.ts';
import type { SignatureAlgorithm } from '../../x509/signature-algorithm.ts';
import { clockSkew, timeText, unknown } from './status.ts';
import type { JudgedCertificate, RevocationStatus } from './status.ts';

/** A certificate revocation list (RFC 5280 section 5), read but not verified. */
interface RevocationList {
  readonly issuer: Buffer;
  readonly thisUpdate: number;
  /** Absent in lists that never expire, which do not count. */
  readonly nextUpdate?: number;
  readonly revoked?: DerElement;
  readonly extensions: ReadonlyMap<string, Extension>;
  readonly tbs: DerElement;
  readonly signatureAlgorithm: SignatureAlgorithm | undefined;
  readonly signature: Buffer;
}

/**
 * Returns where the delta of a list is available (RFC 5280 section 5.2.6); none for a list that cannot be
 * read, or that the issuer has not signed: anyone on the way could name any address in it.
 */
export function deltaUrls(bytes: Uint8Array, issuer: Certificate): readonly string[] {
  const named = attempt(() => {
    const list = readList(bytes);
    return isSignedBy(list, issuer) ? deltasOf(list) : [];
  });
  return named ?? [];
}

function deltasOf({ extensions }: RevocationList): readonly string[] {
  const freshest = extensions.get(extensionOid.freshestCrl);
  return freshest === undefined ? [] : readPointUrls(freshest.value);
}

const isSignedBy = (list: RevocationList, { key }: Certificate): boolean =>
  isSignatureBy(list.signatureAlgorithm, key, list.tbs.whole, list.signature);

/**
 * Returns the status of a certificate in a revocation list, and in its delta, if the list names one.
 * Never throws: an unreadable list yields unknown.
 * @param delta returns the bytes for a URL of {@link deltaUrls}
 */
export function judgeCrl(
  bytes: Uint8Array,
  delta: (url: string) => Uint8Array | undefined,
  judged: JudgedCertificate,
): RevocationStatus {
  const { certificate, now, signingTime } = judged;
  try {
    const base = readList(bytes);
    const lists = [base];
    const problem = listProblem(base, judged);
    if (problem !== undefined) return unknown(`its revocation list ${problem}`);
    if (base.extensions.has(extensionOid.deltaCrlIndicator))
      return unknown('its revocation list contains only changes');
    const urls = deltasOf(base);
    if (urls.length === 0 && certificate.extensions.has(extensionOid.freshestCrl))
      return unknown('it names a delta of its revocation list, but the list does not');
    for (const url of urls) {
      const changes = delta(url);
      if (changes === undefined)
        return unknown(`the delta of its revocation list, at ${url}, is not available`);
      const list = readList(changes);
      const wrong = listProblem(list, judged) ?? deltaProblem(list, base);
      if (wrong !== undefined) return unknown(`the delta of its revocation list ${wrong}`);
      lists.push(list);
    }
    const revokedAt = findRevocation(lists, certificate, signingTime);
    if (revokedAt !== undefined)
      return { status: 'revoked', says: `its revocation list says it was revoked at ${timeText(revokedAt)}` };
    const until = smallest(lists.map(({ nextUpdate = now }) => nextUpdate));
    return {
      status: 'good',
      says: `its revocation list, which is valid until ${timeText(until)}, does not contain it`,
      until,
    };
  } catch (error) {
    return unknown(`its revocation list cannot be used: ${(error as Error).message}`);
  }
}

/** Reads a CertificateList: each field once, in order, and nothing else. @throws DerError */
function readList(bytes: Uint8Array): RevocationList {
  const [tbs, algorithm, signature, more] = childrenOf(
    expectTag(readStrict(bytes), derTag.sequence, 'the list'),
    4,
  );
  if (more !== undefined) throw new DerError('a field follows the signature', more.offset);
  const fields = childrenOf(expectTag(tbs, derTag.sequence, 'tbsCertList'), 8);
  const take = (...tags: readonly number[]): DerElement | undefined =>
    fields[0] !== undefined && tags.includes(fields[0].tag) ? fields.shift() : undefined;
  const version = take(derTag.integer);
  // RFC 5280 5.1.2.1: when the version is present, it is 2.
  if (version !== undefined && readSmallInteger(version, 'the version') !== 1)
    throw new DerError('the list is not of version 2', version.offset);
  const [inner, issuer, thisUpdate] = fields.splice(0, 3);
  if (algorithm === undefined || inner?.whole.equals(algorithm.whole) !== true)
    throw new DerError('the two signature algorithms differ', 0);
  const next = take(derTag.utcTime, derTag.generalizedTime);
  const revoked = take(derTag.sequence);
  const extended = take(contextTag(0, 'constructed'));
  const [unknownField] = fields;
  if (unknownField !== undefined) throw new DerError('the list has an unknown field', unknownField.offset);
  if (extended !== undefined && version === undefined)
    throw new DerError('the list is of version 1 and has extensions', extended.offset);
  return {
    issuer: expectTag(issuer, derTag.sequence, 'the issuer').whole,
    thisUpdate: readTime(thisUpdate, 'thisUpdate'),
    ...(next === undefined ? {} : { nextUpdate: readTime(next, 'nextUpdate') }),
    ...(revoked === undefined ? {} : { revoked }),
    extensions: extended === undefined ? new Map<string, Extension>() : readExtensions(onlyChild(extended)),
    tbs: tbs as DerElement,
    signatureAlgorithm: readSignatureAlgorithm(algorithm),
    signature: readBits(signature, 'the signature'),
  };
}

const understood: readonly string[] = [extensionOid.issuingDistributionPoint, extensionOid.deltaCrlIndicator];

function listProblem(
  list: RevocationList,
  { certificate, issuer, now }: JudgedCertificate,
): string | undefined {
  if (!list.issuer.equals(issuer.subject)) return 'is not from its issuer';
  if (issuer.keyUsage !== undefined && (issuer.keyUsage & keyUsageBit.crlSign) === 0)
    return 'is signed by an authority that may not sign such lists';
  if (!isSignedBy(list, issuer)) return 'is not signed by its issuer';
  if (list.thisUpdate > now + clockSkew)
    return `is dated ${timeText(list.thisUpdate)}, which is in the future`;
  if (list.nextUpdate === undefined) return 'does not state until when it is valid';
  if (list.nextUpdate < now) return `held until ${timeText(list.nextUpdate)}`;
  for (const [oid, { critical }] of list.extensions)
    if (critical && !understood.includes(oid))
      return `has the critical extension ${oid}, which is not understood`;
  const point = list.extensions.get(extensionOid.issuingDistributionPoint);
  return point === undefined ? undefined : scopeProblem(point.value, certificate);
}

/** Checks IssuingDistributionPoint (RFC 5280 section 5.2.5): the certificates that the list covers. */
function scopeProblem(value: Buffer, certificate: Certificate): string | undefined {
  const parts = childrenOf(expectTag(readStrict(value), derTag.sequence, 'issuingDistributionPoint'), 8);
  if (
    parts.some(({ tag }, index) => index > 0 && (tag & 0x1f) <= ((parts[index - 1] as DerElement).tag & 0x1f))
  )
    throw new DerError('issuingDistributionPoint is malformed', 0);
  const says = (number: number): boolean => {
    const tag = contextTag(number, 'primitive');
    return readTrueOrAbsent(
      parts.find((part) => part.tag === tag),
      'the scope of the list',
      tag,
    );
  };
  if (!isForPoint(parts, certificate)) return 'covers the certificates of another distribution point';
  const { isAuthority } = certificate;
  if (says(1) && isAuthority) return 'covers only certificates of users';
  if (says(2) && !isAuthority) return 'covers only certificates of authorities';
  if (parts.some((part) => part.tag === contextTag(3, 'primitive')))
    return 'covers only some reasons for revocation';
  if (says(4)) return 'is indirect, which is not supported';
  return says(5) ? 'covers only attribute certificates' : undefined;
}

const maximumNames = 64;

/**
 * Returns whether a list that names its distribution point is the one of the certificate (RFC 5280 section
 * 6.3.3 (b) (2) (i)). An authority may split its list: a valid part for other certificates says nothing about
 * this one, and whoever controls the network can serve it in place of the right part. A name relative to the
 * issuer is not supported.
 */
function isForPoint(scope: readonly DerElement[], { extensions }: Certificate): boolean {
  const point = scope.find(({ tag }) => tag === contextTag(0, 'constructed'));
  if (point === undefined) return true;
  const full = onlyChild(point);
  const named = extensions.get(extensionOid.crlDistributionPoints)?.value;
  return (
    full.tag === contextTag(0, 'constructed') &&
    childrenOf(full, maximumNames).some(({ whole }) => named?.includes(whole) === true)
  );
}

function deltaProblem(delta: RevocationList, base: RevocationList): string | undefined {
  const number = (list: RevocationList, oid: string): bigint | undefined => {
    const extension = list.extensions.get(oid);
    if (extension === undefined) return undefined;
    const content = readInteger(readStrict(extension.value), 'the number of the list');
    return content.length > 21 || (content[0] ?? 0) >= 0x80
      ? undefined
      : BigInt(`0x${content.toString('hex')}`);
  };
  const baseNumber = number(base, extensionOid.crlNumber);
  const own = number(delta, extensionOid.crlNumber);
  const since = number(delta, extensionOid.deltaCrlIndicator);
  if (baseNumber === undefined || own === undefined || since === undefined)
    return 'does not state which list it changes';
  return own <= baseNumber || since > baseNumber ? 'does not belong to that list' : undefined;
}

const hold = 6;
const removed = 8;

/**
 * Returns when the certificate was revoked, according to a list and its delta. A hold that a later entry
 * lifts does not count (RFC 5280 section 5.3.1).
 */
function findRevocation(
  lists: readonly RevocationList[],
  certificate: Certificate,
  signingTime: number | undefined,
): number | undefined {
  let held: { readonly time: number; readonly reason: number } | undefined;
  let revokedAt: number | undefined;
  for (const { revoked } of lists) {
    if (revoked === undefined) continue;
    for (const entry of eachChild(revoked)) {
      const [serial, time, extensions, more] = childrenOf(expectTag(entry, derTag.sequence, 'an entry'), 4);
      if (more !== undefined) throw new DerError('an entry is malformed', more.offset);
      // Read for every entry: a list with a critical extension that is not understood is invalid for every
      // certificate (RFC 5280 5.3).
      const { reason, invalidFrom } = entryFacts(extensions);
      if (!readInteger(serial, 'a serial number').equals(certificate.serial)) continue;
      const at = readTime(time, 'the time of a revocation');
      if (signingTime !== undefined && invalidFrom !== undefined && signingTime < invalidFrom) continue;
      if (reason !== hold && reason !== removed) revokedAt = Math.min(revokedAt ?? at, at);
      else if (held === undefined || held.time < at) held = { time: at, reason };
    }
  }
  return revokedAt ?? (held?.reason === hold ? held.time : undefined);
}

function entryFacts(extensions: DerElement | undefined): {
  readonly reason: number;
  readonly invalidFrom?: number;
} {
  if (extensions === undefined) return { reason: 0 };
  let reason = 0;
  let invalidFrom: number | undefined;
  for (const [oid, { critical, value, element }] of readExtensions(extensions)) {
    if (oid === extensionOid.reasonCode)
      reason = readSmallInteger(readStrict(value), 'a reason', derTag.enumerated);
    else if (oid === extensionOid.invalidityDate)
      invalidFrom = readGeneralizedTime(readStrict(value), 'an invalidity date');
    else if (critical)
      throw new DerError(
        `an entry has the critical extension ${oid}, which is not understood,`,
        element.offset,
      );
  }
  return { reason, ...(invalidFrom === undefined ? {} : { invalidFrom }) };
}
