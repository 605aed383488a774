import { extensionOid } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { childrenOf, derTag, DerError, expectTag, readDer } from './der.ts';
import type { DerElement } from './der.ts';
import { asciiText, subjectNamesOf } from './subject-names.ts';
import type { SubjectNames } from './subject-names.ts';

type Form = 'emails' | 'hosts' | 'uris' | 'addresses';

/** One subtree, and the names of its form that are inside. */
interface Subtree {
  readonly form: Form;
  readonly holds: (name: string | Buffer, excluded: boolean) => boolean;
}

const forms: Readonly<Record<number, Form>> = { 0x81: 'emails', 0x82: 'hosts', 0x86: 'uris', 0x87: 'addresses' };

/**
 * Whether an authority may issue for these names (RFC 5280 section 4.2.1.10): held against the subject's other names of every
 * certificate below, whether the extension is critical or not. A form of name that is not known here is refused.
 * @returns what speaks against it, to stand after "an issuing certificate"
 */
export function nameConstraintFlaw(issuer: Certificate, below: readonly Certificate[]): string | undefined {
  const extension = issuer.extensions.get(extensionOid.nameConstraints);
  if (extension === undefined) return undefined;
  try {
    const parts = childrenOf(expectTag(readDer(extension.value), derTag.sequence, 'nameConstraints'));
    if (parts.length === 0 || parts.some(({ tag }, index) => (tag !== 0xa0 && tag !== 0xa1) || (tag === 0xa0 && index > 0)))
      throw new DerError('nameConstraints are malformed', 0);
    const permitted = parts.filter(({ tag }) => tag === 0xa0).flatMap(readSubtrees);
    const excluded = parts.filter(({ tag }) => tag === 0xa1).flatMap(readSubtrees);
    const outside = below.map(subjectNamesOf).find((names) => !isInside(names, permitted, excluded));
    return outside === undefined ? undefined : 'may not issue for the names of the certificate';
  } catch (error) {
    return `has constraints of names that can not be judged: ${(error as Error).message}`;
  }
}

function isInside(names: SubjectNames, permitted: readonly Subtree[], excluded: readonly Subtree[]): boolean {
  return (['emails', 'hosts', 'uris', 'addresses'] as const).every((form) => {
    const within = permitted.filter((subtree) => subtree.form === form);
    const without = excluded.filter((subtree) => subtree.form === form);
    return names[form].every(
      (name) => (within.length === 0 || within.some(({ holds }) => holds(name, false))) && !without.some(({ holds }) => holds(name, true)),
    );
  });
}

function readSubtrees(list: DerElement): readonly Subtree[] {
  return childrenOf(list).map((subtree) => {
    const [base, more] = childrenOf(expectTag(subtree, derTag.sequence, 'a subtree'));
    // RFC 5280: minimum is zero, and is then not written; maximum is absent.
    if (base === undefined || more !== undefined) throw new DerError('a subtree is malformed', subtree.offset);
    const form = forms[base.tag];
    if (form === undefined) throw new DerError('a subtree is of a form of names that is not known', base.offset);
    return { form, holds: form === 'addresses' ? addressTree(base.content) : textTree(form, asciiText(base.content)) };
  });
}

function addressTree(content: Buffer): Subtree['holds'] {
  if (content.length !== 8 && content.length !== 32) throw new DerError('a subtree of addresses is malformed', 0);
  const half = content.length / 2;
  return (name) =>
    typeof name !== 'string' &&
    name.length === half &&
    name.every((byte, at) => (byte & (content[half + at] ?? 0)) === ((content[at] ?? 0) & (content[half + at] ?? 0)));
}

function textTree(form: Form, text: string): Subtree['holds'] {
  return (name, excluded) => {
    if (typeof name !== 'string') return false;
    if (form === 'hosts') return hostWithin(name, text, true) || (excluded && wildcardReaches(name, text));
    if (form === 'uris') {
      const host = hostOfUri(name);
      // RFC 5280: a URI without a host name is not permitted by any subtree, and none can rule it out.
      return host === undefined ? excluded : hostWithin(host, text, excluded || text.startsWith('.'));
    }
    const at = name.lastIndexOf('@');
    const host = name.slice(at + 1);
    if (at <= 0 || host === '') return excluded;
    const own = text.lastIndexOf('@');
    if (own >= 0) return name.slice(0, at) === text.slice(0, own) && host.toLowerCase() === text.slice(own + 1).toLowerCase();
    // Only a leading dot means hosts below; what is excluded is excluded below as well, as Go's crypto/x509 holds it.
    return hostWithin(host, text, excluded || text.startsWith('.'));
  };
}

/** Whether a host is the constraint's, or below it where that is meant. A leading dot means only below. */
function hostWithin(host: string, constraint: string, below: boolean): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  const base = constraint.toLowerCase();
  if (base === '') return true;
  if (base.startsWith('.')) return name.endsWith(base) && name.length > base.length;
  return name === base || (below && name.endsWith(`.${base}`));
}

/** `*.example.com` stands for names that a subtree below excludes. */
function wildcardReaches(name: string, constraint: string): boolean {
  if (!name.startsWith('*.')) return false;
  const parent = name.slice(1).toLowerCase();
  return constraint.toLowerCase().endsWith(parent);
}

function hostOfUri(uri: string): string | undefined {
  const host = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#:@[\]]+)(?::\d*)?(?:[/?#]|$)/i.exec(uri)?.[1];
  return host === undefined || /^[\d.]+$/.test(host) ? undefined : host;
}
