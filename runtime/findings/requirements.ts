import type { Requirement, TrustRule } from '../../trust/index.ts';
import { certificateValidity } from '../../trust/x509/index.ts';
import { found } from './finding-codes.ts';
import type { Found } from './finding-codes.ts';

const dayMs = 86_400_000;
const soonMs = 3 * dayMs;
/** A longer exception or window is not temporary. */
export const longestMs = 30 * dayMs;

/** Returns the weaknesses of a rule's own requirement. Pure. */
export function requirementFindings({ name, require }: TrustRule, now: Date): readonly Found[] {
  if (require === undefined) return [];
  const parts = leaves(require);
  return [
    ...(anyoneMeets(require)
      ? [
          found(
            isAnyone(require) || require.kind === 'all' ? 'IDENTITY_ANYONE' : 'ALTERNATIVE_ANYONE',
            `rule ${name}`,
          ),
        ]
      : []),
    ...parts.flatMap((part) => timeFindings(part, name)),
    ...parts.flatMap((part) => certificateFindings(part, name, now)),
    ...parts.flatMap((part) => rootFindings(part, name, now)),
    ...parts.flatMap((part) => serviceFindings(part, name)),
  ];
}

/** A requirement without parts. */
export type Leaf = Exclude<Requirement, { readonly of: unknown }>;

/** Returns the requirements of which a requirement consists. */
export function leaves(requirement: Requirement): readonly Leaf[] {
  return 'of' in requirement ? requirement.of.flatMap(leaves) : [requirement];
}

/** Reports whether a signer without any relation to the publisher can meet the requirement. */
function anyoneMeets(requirement: Requirement): boolean {
  switch (requirement.kind) {
    case 'all':
      return requirement.of.every(anyoneMeets);
    case 'any':
      return requirement.of.some(anyoneMeets);
    case 'threshold':
      return requirement.of.filter(anyoneMeets).length >= requirement.count;
    default:
      return isAnyone(requirement);
  }
}

/**
 * Reports whether a single requirement names no signer. A claim with a concrete text narrows a wide subject.
 */
function isAnyone(requirement: Requirement): boolean {
  if (requirement.kind === 'attestation') return isAnyone(requirement.by);
  if (requirement.kind !== 'sigstore') return false;
  const { subject, claims = {} } = requirement.identity;
  return [subject, ...Object.values(claims)].every(namesNobody);
}

/**
 * Reports whether a pattern names no signer: removes wildcards and the site that hosts all users, and checks
 * what remains.
 */
function namesNobody(pattern: string): boolean {
  if (!pattern.includes('*')) return false;
  const rest = pattern
    .replace(/^https?:\/\/(\*|github\.com|gitlab\.com|bitbucket\.org)(?=\/|$)/, '')
    .replace(/@refs\/.*$/, '');
  return (
    !/[A-Za-z0-9]/.test(rest.replace(/\/?\.github\/workflows\/.*$/, '').replace(/\*+\.ya?ml$/, '')) ||
    /^\*+@?(gmail|outlook|hotmail)\.com$/.test(rest)
  );
}

function timeFindings(part: Leaf, rule: string): readonly Found[] {
  const keyless = part.kind === 'attestation' ? part.by : part;
  if (keyless.kind !== 'sigstore' || keyless.proof.logs > 0 || keyless.proof.timeStamps > 0) return [];
  return [found('NO_PROVEN_TIME', `rule ${rule}`)];
}

/** Returns the groups of certificates (DER, base64) that a requirement depends on, each with its name. */
export function certificateGroups(
  part: Leaf,
): readonly { readonly name: string; readonly certificates: readonly string[] }[] {
  if (part.kind === 'pki') return [{ name: part.roots.name, certificates: part.roots.certificates }];
  if (part.kind !== 'notation') return [];
  return part.stores.map(({ name, certificates }) => ({
    name,
    certificates: certificates.map(({ der }) => der),
  }));
}

function certificateFindings(part: Leaf, rule: string, now: Date): readonly Found[] {
  return certificateGroups(part).flatMap(({ name, certificates }) => {
    const read = certificates.flatMap((der) => certificateValidity(Buffer.from(der, 'base64')) ?? []);
    const good = read.filter(
      ({ notBefore, notAfter }) => notBefore <= now.getTime() && now.getTime() <= notAfter,
    );
    if (read.length === 0 || good.length > 0) return [];
    const ends = read
      .map(({ notBefore, notAfter }) => `${dateOf(notBefore)} to ${dateOf(notAfter)}`)
      .join('; ');
    return [found('CERTIFICATE_ENDED', `rule ${rule}`, `${name}: ${ends}`)];
  });
}

const dateOf = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** Returns the trusted root of a sigstore instance that a requirement depends on. */
export function rootOf(part: Leaf): { readonly name: string; readonly expires?: string } | undefined {
  const signer = part.kind === 'attestation' ? part.by : part;
  if (signer.kind === 'sigstore') return signer.proof.root;
  return signer.kind === 'cosign-key' ? signer.log?.root : undefined;
}

function rootFindings(part: Leaf, rule: string, now: Date): readonly Found[] {
  const root = rootOf(part);
  if (root?.expires === undefined) return [];
  const left = Date.parse(root.expires) - now.getTime();
  // A date that cannot be parsed counts as past.
  if (!(left > 0)) return [found('ROOT_ENDED', `rule ${rule}`, `${root.name}: expired at ${root.expires}`)];
  return left < soonMs
    ? [found('ROOT_ENDS_SOON', `rule ${rule}`, `${root.name}: expires at ${root.expires}`)]
    : [];
}

function serviceFindings(part: Leaf, rule: string): readonly Found[] {
  if (part.kind !== 'tuf') return [];
  const { service, root, grace = 0 } = part;
  return [
    ...(grace * 1000 > longestMs
      ? [found('STALE_WINDOW_LONG', `rule ${rule}`, `${service}: ${Math.floor(grace / 86_400)} days`)]
      : []),
    ...(root === 'first-use' ? [found('TRUST_ON_FIRST_USE', `rule ${rule}`, service)] : []),
  ];
}
