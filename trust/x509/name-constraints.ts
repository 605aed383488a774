import type { Certificate } from './certificate.ts';
import { childrenOf, contextTag, derTag, DerError, expectTag, onlyChild } from './der.ts';
import type { DerElement } from './der.ts';
import { readStrict } from './der-strict.ts';
import { extensionOid } from './extensions.ts';
import { emailAttribute, readName } from './name.ts';
import type { DistinguishedName } from './name.ts';
import { asciiText, generalName, maximumNames } from './subject-names.ts';

/**
 * Returns whether a name is within the subtree. `excluded` states whether the subtree excludes names; in case
 * of doubt, the name is then treated as excluded.
 */
type Subtree<T> = (name: T, excluded: boolean) => boolean;

/** The permitted or the excluded subtrees, by form of name. */
interface Subtrees {
  readonly emails: Subtree<string>[];
  readonly hosts: Subtree<string>[];
  readonly uris: Subtree<string>[];
  readonly addresses: Subtree<Buffer>[];
  readonly directoryNames: Subtree<DistinguishedName>[];
}

/**
 * The number of comparisons of a name with a subtree that remain. It prevents that n names below n subtrees
 * cost n².
 */
export interface ConstraintBudget {
  comparisons: number;
}

/** As many as ten certificates of a thousand names under ten subtrees need. */
export const constraintBudget = (): ConstraintBudget => ({ comparisons: 100_000 });

/**
 * Checks whether an authority may issue for these names (RFC 5280 sections 4.2.1.10 and 6.1.3). Its
 * constraints are compared with the subject and the subject alternative names of every certificate below,
 * whether the extension is critical or not. An intermediate certificate that its own name has issued (a
 * change of key) is skipped. An unknown form of name is refused.
 * @param below the leaf first
 * @returns the reason why it may not, to follow "an issuing certificate"
 */
export function nameConstraintFlaw(
  issuer: Certificate,
  below: readonly Certificate[],
  budget: ConstraintBudget,
): string | undefined {
  const extension = issuer.extensions.get(extensionOid.nameConstraints);
  if (extension === undefined) return undefined;
  try {
    const { permitted, excluded } = readConstraints(extension.value);
    const outside = below.find(
      (certificate, index) =>
        (index === 0 || !certificate.issuer.equals(certificate.subject)) &&
        !isInside(certificate, permitted, excluded, budget),
    );
    return outside === undefined ? undefined : 'may not issue for the names of the certificate';
  } catch (error) {
    return `has name constraints that cannot be evaluated: ${(error as Error).message}`;
  }
}

/**
 * Reads the constraints. @throws DerError when the extension is malformed, or contains an unknown form of
 * name
 */
function readConstraints(value: Buffer): { readonly permitted: Subtrees; readonly excluded: Subtrees } {
  const parts = childrenOf(expectTag(readStrict(value), derTag.sequence, 'nameConstraints'), 3);
  const permitted = parts[0]?.tag === contextTag(0, 'constructed') ? parts.shift() : undefined;
  const excluded = parts[0]?.tag === contextTag(1, 'constructed') ? parts.shift() : undefined;
  // RFC 5280 4.2.1.10: never empty.
  if (parts.length > 0 || (permitted ?? excluded) === undefined)
    throw new DerError('nameConstraints are malformed', 0);
  return { permitted: readSubtrees(permitted), excluded: readSubtrees(excluded) };
}

function isInside(
  certificate: Certificate,
  permitted: Subtrees,
  excluded: Subtrees,
  budget: ConstraintBudget,
): boolean {
  const { subjectAltNames: names, subjectName } = certificate;
  const own = subjectName.attributes.filter(({ type }) => type === emailAttribute).map(({ value }) => value);
  // An address in a form that constraints cannot be compared with (RFC 9598) could be excluded by them.
  if (names.hasOtherEmail && permitted.emails.length + excluded.emails.length > 0) return false;
  const subject = subjectName.attributes.length === 0 ? [] : [subjectName];
  return (
    areInside([...names.emails, ...own], permitted.emails, excluded.emails, budget) &&
    areInside(names.hosts, permitted.hosts, excluded.hosts, budget) &&
    areInside(names.uris, permitted.uris, excluded.uris, budget) &&
    areInside(names.addresses, permitted.addresses, excluded.addresses, budget) &&
    areInside(
      [...subject, ...names.directoryNames],
      permitted.directoryNames,
      excluded.directoryNames,
      budget,
    )
  );
}

function areInside<T>(
  names: readonly T[],
  permitted: readonly Subtree<T>[],
  excluded: readonly Subtree<T>[],
  budget: ConstraintBudget,
): boolean {
  budget.comparisons -= names.length * (permitted.length + excluded.length);
  if (budget.comparisons < 0) throw new DerError('too many names under too many constraints', 0);
  return names.every(
    (name) =>
      (permitted.length === 0 || permitted.some((holds) => holds(name, false))) &&
      !excluded.some((holds) => holds(name, true)),
  );
}

function readSubtrees(list: DerElement | undefined): Subtrees {
  const found: Subtrees = { emails: [], hosts: [], uris: [], addresses: [], directoryNames: [] };
  if (list === undefined) return found;
  const subtrees = childrenOf(list, maximumNames);
  if (subtrees.length === 0) throw new DerError('a list of subtrees is empty', list.offset);
  for (const subtree of subtrees) {
    // RFC 5280: minimum is zero, and is then omitted; maximum is absent.
    const [base, more] = childrenOf(expectTag(subtree, derTag.sequence, 'a subtree'), 3);
    if (base === undefined || more !== undefined)
      throw new DerError('a subtree is malformed', subtree.offset);
    switch (base.tag) {
      case generalName.email:
        found.emails.push(emailTree(asciiText(base)));
        break;
      case generalName.host:
        found.hosts.push(hostTree(hostConstraint(asciiText(base))));
        break;
      case generalName.uri:
        found.uris.push(uriTree(hostConstraint(asciiText(base))));
        break;
      case generalName.address:
        found.addresses.push(addressTree(base.content));
        break;
      case generalName.directory:
        found.directoryNames.push(directoryTree(readName(onlyChild(base))));
        break;
      default:
        throw new DerError('a subtree has an unknown form of name', base.offset);
    }
  }
  return found;
}

/** A network and its mask, whose one bits all come first. */
function addressTree(content: Buffer): Subtree<Buffer> {
  const half = content.length / 2;
  if (half !== 4 && half !== 16) throw new DerError('a subtree of addresses is malformed', 0);
  const mask = content.subarray(half);
  const binary = [...mask].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  if (/01/.test(binary)) throw new DerError('the mask of a subtree of addresses has a gap', 0);
  const network = mask.map((byte, at) => byte & (content[at] ?? 0));
  const holds = (name: Buffer): boolean =>
    name.length === half && name.every((byte, at) => (byte & (mask[at] ?? 0)) === network[at]);
  return (name, excluded) => holds(name) || (excluded && holds(otherForm(name)));
}

const mappedPrefix = Buffer.from('00000000000000000000ffff', 'hex');

/**
 * Converts an IPv4 address to an IPv6 address, or back (RFC 4291 section 2.5.5.2): both reach the same host.
 */
function otherForm(address: Buffer): Buffer {
  if (address.length === 4) return Buffer.concat([mappedPrefix, address]);
  return address.subarray(0, 12).equals(mappedPrefix) ? address.subarray(12) : address;
}

/** Matches every name that begins with the relative names of the constraint. */
function directoryTree({ comparable }: DistinguishedName): Subtree<DistinguishedName> {
  return (name) => comparable.every((part, index) => name.comparable[index] === part);
}

/**
 * Returns the host of a constraint in lower case; `.example.com` covers only hosts below it.
 * @throws DerError when it is not a host
 */
function hostConstraint(text: string): string {
  const lower = text.toLowerCase();
  if (lower !== '' && !isHost(lower.replace(/^\./, ''))) throw new DerError('a subtree names no host', 0);
  return lower;
}

function hostTree(constraint: string): Subtree<string> {
  return (name, excluded) => {
    const host = name.toLowerCase().replace(/\.$/, '');
    // A client that reads names differently could take an unreadable host for any other host.
    if (!isHost(host.replace(/^\*\./, ''))) return excluded;
    return isWithin(host, constraint, true) || (excluded && wildcardReaches(host, constraint));
  };
}

function uriTree(constraint: string): Subtree<string> {
  return (name, excluded) => {
    const host = hostOfUri(name);
    // RFC 5280: no subtree permits a URI without a host name. It cannot be shown that a subtree does not
    // exclude it either.
    return host === undefined ? excluded : isWithin(host, constraint, excluded || constraint.startsWith('.'));
  };
}

function emailTree(text: string): Subtree<string> {
  const own = text.lastIndexOf('@');
  const constraint = hostConstraint(text.slice(own + 1));
  const local = own < 0 ? undefined : text.slice(0, own);
  if (local === '' || (local !== undefined && constraint === ''))
    throw new DerError('a subtree names no mailbox', 0);
  return (name, excluded) => {
    const at = name.lastIndexOf('@');
    const host = name
      .slice(at + 1)
      .toLowerCase()
      .replace(/\.$/, '');
    if (at < 0 || !isLocalPart(name.slice(0, at)) || !isHost(host)) return excluded;
    // Quotes and backslashes are other ways to write the same mailbox.
    if (local !== undefined)
      return (
        host === constraint && (name.slice(0, at) === local || (excluded && /["\\]/.test(name.slice(0, at))))
      );
    // Only a leading dot covers hosts below. An excluded host excludes the hosts below it as well, as in Go's
    // crypto/x509.
    return isWithin(host, constraint, excluded || constraint.startsWith('.'));
  };
}

/** Whether it is a dot-string, with quoted pairs or without, or a quoted string (RFC 5321, section 4.1.2). */
function isLocalPart(text: string): boolean {
  return /^(?:(?:[\w!#$%&'*+/=?^`{|}~.-]|\\.)+|"(?:[^"\\]|\\.)*")$/.test(text);
}

function isHost(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/.test(name);
}

/**
 * Returns whether a host is the constraint's, or below it if `below` is set. A leading dot covers only hosts
 * below.
 */
function isWithin(host: string, constraint: string, below: boolean): boolean {
  if (constraint === '') return true;
  if (constraint.startsWith('.')) return host.endsWith(constraint) && host.length > constraint.length;
  return host === constraint || (below && host.endsWith(`.${constraint}`));
}

/** Returns whether `*.example.com` covers names that a subtree below it excludes. */
function wildcardReaches(host: string, constraint: string): boolean {
  return host.startsWith('*.') && constraint.endsWith(host.slice(1));
}

function hostOfUri(uri: string): string | undefined {
  const host = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#:@[\]]+)(?::\d*)?(?:[/?#]|$)/i
    .exec(uri)?.[1]
    ?.toLowerCase()
    .replace(/\.$/, '');
  return host === undefined || !isHost(host) || /^[\d.]+$/.test(host) ? undefined : host;
}
