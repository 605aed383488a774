import { levels, validationTypes } from '../../requirements/notation.ts';
import type { NotationRequirement } from '../../requirements/notation.ts';
import { parseImagePattern } from '../../requirements/image-pattern.ts';
import { otherNames } from '../../requirements/named-images.ts';
import type { TrustPolicy, TrustRule } from '../../requirements/types.ts';
import type { Unmapped } from '../mapping/imported.ts';

export interface NotationExport {
  /** `trustpolicy.json`, version 1.0; absent when no rule can be converted. */
  readonly text?: string;
  readonly unmapped: readonly Unmapped[];
}

interface Candidate {
  readonly rule: TrustRule;
  readonly scopes: readonly string[];
  readonly statement: Readonly<Record<string, unknown>>;
}

/**
 * Converts the rules that require Notary Project signatures to notation's trust policy. Our policy needs
 * every matching rule to admit, while in notation a single statement decides. A rule is therefore left out
 * when another rule may match its images too, because notation would admit more easily.
 */
export function exportNotation(policy: TrustPolicy): NotationExport {
  const unmapped: Unmapped[] = [];
  const leave = (rule: TrustRule, why: string): void => {
    const [, file = rule.name, line = '1'] = /^(.*):(\d+)$/.exec(rule.name) ?? [];
    unmapped.push({
      file,
      line: Number(line),
      column: 1,
      path: '',
      why,
      became: 'the rule is not exported',
    });
  };
  let candidates: Candidate[] = [];
  const left: TrustRule[] = [];
  for (const rule of policy.rules) {
    const candidate = candidateOf(rule);
    if (typeof candidate !== 'string') candidates.push(candidate);
    else {
      left.push(rule);
      leave(rule, candidate);
    }
  }
  // A rule that is left out may match images of another rule, which is then more than one statement can
  // express.
  for (let changed = true; changed;) {
    const clash = candidates.find((one) => rivals(one, candidates, left).length > 0);
    changed = clash !== undefined;
    if (clash === undefined) break;
    leave(
      clash.rule,
      `its images may also match ${rivals(clash, candidates, left).join(', ')}, and notation applies only one statement to an image`,
    );
    left.push(clash.rule);
    candidates = candidates.filter((one) => one !== clash);
  }
  if (candidates.length === 0) return { unmapped };
  return {
    text: `${JSON.stringify({ version: '1.0', trustPolicies: candidates.map(named) }, null, 2)}\n`,
    unmapped,
  };
}

/** Names the statements uniquely: two rules may be on one line. */
function named(
  { rule, statement }: Candidate,
  index: number,
  all: readonly Candidate[],
): Readonly<Record<string, unknown>> {
  const before = all.slice(0, index).filter((one) => one.rule.name === rule.name).length;
  return { ...statement, name: before === 0 ? rule.name : `${rule.name} (${before + 1})` };
}

function candidateOf(rule: TrustRule): Candidate | string {
  if (rule.deny !== undefined) return 'notation cannot deny';
  if (rule.namespaces !== undefined || rule.narrows !== undefined)
    return 'notation does not support namespaces';
  if (rule.mode !== undefined) return 'notation does not support rules that only report';
  if (rule.breakGlass !== undefined) return 'notation does not support break-glass';
  if (rule.ceiling.require === 'signed') return 'notation does not support signed entitlements';
  const scopes = rule.images.map(scopeOf);
  if (scopes.includes(undefined))
    return 'notation names whole repositories or all images, and the images of the rule are neither';
  if (scopes.length > 1 && scopes.includes('*')) return '"**" cannot be combined with other images';
  const name = { name: rule.name, registryScopes: scopes };
  if (rule.allowUnverified) {
    if (scopes.includes('*')) return 'notation may not skip the verification of every image';
    return {
      rule,
      scopes: scopes as string[],
      statement: { ...name, signatureVerification: { level: 'skip' } },
    };
  }
  if (rule.require?.kind !== 'notation')
    return 'it requires something other than a single Notary Project signature';
  const verification = verificationOf(rule.require);
  return typeof verification === 'string'
    ? verification
    : { rule, scopes: scopes as string[], statement: { ...name, ...verification } };
}

function verificationOf(requirement: NotationRequirement): Readonly<Record<string, unknown>> | string {
  const { stores, identities, level, actions, verifyTimestamp, constraints } = requirement;
  if (constraints !== undefined) return 'notation does not check annotations, ages or names of signatures';
  if (stores.some(({ type, name }) => !name.startsWith(`${type}/`)))
    return 'it names certificate files, and notation supports only trust stores';
  const override = Object.fromEntries(
    validationTypes
      .filter((type) => actions[type] !== levels[level][type])
      .map((type) => [type, actions[type]]),
  );
  return {
    signatureVerification: {
      level,
      ...(Object.keys(override).length === 0 ? {} : { override }),
      ...(verifyTimestamp === 'always' ? {} : { verifyTimestamp }),
    },
    trustStores: stores.map(({ type, name }) => `${type}:${name.slice(type.length + 1)}`),
    trustedIdentities: identities === '*' ? ['*'] : identities.map((identity) => `x509.subject: ${identity}`),
  };
}

/**
 * Returns a repository as notation names it. `**` becomes `*`. Any other image with a wildcard, tag or digest
 * has no counterpart.
 */
function scopeOf(image: string): string | undefined {
  if (image === '**') return '*';
  return image.includes('*') || /[@]|:[^/]*$/.test(image.replace(/^[^/]*\//, ''))
    ? undefined
    : completed(image);
}

/** Returns a pattern with its short form completed: `busybox` is `docker.io/library/busybox`. */
function completed(image: string): string {
  const { host, path } = parseImagePattern(image);
  return [host, ...path].join('/');
}

/** Returns the names of other rules that may match an image of this rule. */
function rivals(
  candidate: Candidate,
  candidates: readonly Candidate[],
  left: readonly TrustRule[],
): readonly string[] {
  const others = candidates.filter((other) => other !== candidate);
  const shared = others.filter((other) => overlap(candidate, other)).map(({ rule }) => rule.name);
  const excepted = exceptedBy(candidate);
  // Images that the rule excepts must belong to another statement, because the statement for "*" would admit
  // them.
  const uncovered = excepted.some(
    (image) => image === undefined || !others.some(({ scopes }) => scopes.includes(image)),
  )
    ? ['its excepted images']
    : [];
  const unsaid = left.filter((rule) => mayHold(rule, candidate)).map(({ name }) => name);
  return [...shared, ...uncovered, ...unsaid];
}

/** Returns the repositories that a rule excepts; undefined for a part of one, or for several. */
const exceptedBy = ({ rule }: Candidate): readonly (string | undefined)[] => (rule.except ?? []).map(scopeOf);

function overlap(a: Candidate, b: Candidate): boolean {
  const holds = (all: Candidate, one: Candidate): boolean =>
    all.scopes.includes('*') && !one.scopes.every((scope) => exceptedBy(all).includes(scope));
  return holds(a, b) || holds(b, a) || a.scopes.flatMap(namesOf).some((scope) => b.scopes.includes(scope));
}

/** Returns a scope, and the same scope by the other names of its registry, to which rules apply too. */
function namesOf(scope: string): readonly string[] {
  const [registry = '', ...path] = scope.split('/');
  return [scope, ...otherNames(registry).map((name) => [name, ...path].join('/'))];
}

/**
 * Whether a rule that is left out may match an image of the candidate. Only the literal beginnings of
 * patterns are compared. A pattern for any registry has none.
 */
function mayHold(rule: TrustRule, { scopes }: Candidate): boolean {
  if (scopes.includes('*') || rule.images.some((image) => parseImagePattern(image).host === '')) return true;
  return rule.images.map(completed).some((image) => {
    const certain = image.split('*', 1)[0] ?? '';
    return scopes
      .flatMap(namesOf)
      .some((scope) => (image.includes('*') ? scope.startsWith(certain) : scope === image));
  });
}
