import { PortcullisError } from '../../../base/errors/index.ts';
import { describeProblems, formatPath, parseDocuments } from '../../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../../base/schema/index.ts';
import { isSubset, parseSubject } from '../../notation/distinguished-name.ts';
import { recordOf, textsOf } from '../../json/strict-json.ts';

/** One statement of notation's trust policy, with the same checks as in notation. */
export interface Statement {
  readonly name: string;
  readonly path: readonly PathSegment[];
  /** Empty in policies for blobs. */
  readonly scopes: readonly string[];
  readonly level: 'strict' | 'permissive' | 'audit' | 'skip';
  readonly override: Readonly<Record<string, string>>;
  readonly verifyTimestamp?: string;
  readonly stores: readonly string[];
  readonly identities: readonly string[];
}

export interface NotationPolicy {
  readonly document: Document;
  readonly kind: 'oci' | 'blob';
  readonly statements: readonly Statement[];
}

const levels = ['strict', 'permissive', 'audit', 'skip'] as const;
const scopePattern =
  /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$/;
const storePattern = /^(ca|signingAuthority|tsa):[A-Za-z0-9_.-]+$/;

/**
 * Reads `trustpolicy.json`, `trustpolicy.oci.json` or `trustpolicy.blob.json` and refuses what notation
 * refuses (notation-go verifier/trustpolicy; trust-store-trust-policy.md, "Trust Policy Properties").
 * @throws PortcullisError `TRUST_IMPORT_INVALID` with every problem, each with line and column
 */
export function readNotationPolicy(text: string, file: string): NotationPolicy {
  const parsed = parseDocuments(text, file);
  const [document] = parsed.documents;
  if (document === undefined || parsed.problems.length > 0) {
    const empty = {
      position: { file, line: 1, column: 1 },
      path: '',
      message: 'it holds nothing',
      fix: "name notation's trustpolicy.json",
    };
    throw invalid(file, parsed.problems.length > 0 ? parsed.problems : [empty]);
  }
  const problems: Problem[] = [];
  const report = (
    path: readonly PathSegment[],
    message: string,
    fix = 'correct it: notation refuses the file, too',
  ): void =>
    void problems.push({ position: document.positionOf(path), path: formatPath(path), message, fix });
  if (parsed.documents.length > 1) report([], 'it contains more than one document');
  const policy = recordOf(document.value);
  if (policy?.['version'] !== '1.0')
    report(['version'], 'its version is not "1.0"', 'only version 1.0 is supported');
  const list = policy?.['trustPolicies'];
  const entries: readonly unknown[] = Array.isArray(list) ? list : [];
  if (entries.length === 0) report(['trustPolicies'], 'it contains no statement');
  // Policies for blobs are selected by name: their statements have no scopes.
  const kind = entries.some((entry) => recordOf(entry)?.['registryScopes'] !== undefined) ? 'oci' : 'blob';
  const statements = entries.map((entry, index) =>
    readStatement(recordOf(entry) ?? {}, ['trustPolicies', index], kind, report),
  );
  checkUnique(statements, report);
  if (problems.length > 0) throw invalid(file, problems);
  return { document, kind, statements };
}

type Report = (path: readonly PathSegment[], message: string, fix?: string) => void;

function readStatement(
  record: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  kind: 'oci' | 'blob',
  report: Report,
): Statement {
  const name = typeof record['name'] === 'string' ? record['name'] : '';
  if (name === '') report([...path, 'name'], 'the statement has no name');
  const verification = recordOf(record['signatureVerification']) ?? {};
  const level = levels.find((one) => one === verification['level']);
  if (level === undefined)
    report([...path, 'signatureVerification', 'level'], `the level is not one of ${levels.join(', ')}`);
  const override = textsOf(verification['override']);
  checkOverride(verification['override'], level, [...path, 'signatureVerification', 'override'], report);
  const { verifyTimestamp } = verification;
  if (
    verifyTimestamp !== undefined &&
    verifyTimestamp !== '' &&
    verifyTimestamp !== 'always' &&
    verifyTimestamp !== 'afterCertExpiry'
  )
    report(
      [...path, 'signatureVerification', 'verifyTimestamp'],
      'verifyTimestamp is neither always nor afterCertExpiry',
    );
  const scopes = listOf(record['registryScopes'], [...path, 'registryScopes'], report);
  if (kind === 'oci') checkScopes(scopes, [...path, 'registryScopes'], report);
  const stores = listOf(record['trustStores'], [...path, 'trustStores'], report);
  const identities = listOf(record['trustedIdentities'], [...path, 'trustedIdentities'], report);
  if (level === 'skip' && stores.length + identities.length > 0)
    report(path, 'a statement of level skip must not have trust stores or identities');
  if (level !== 'skip' && (stores.length === 0 || identities.length === 0))
    report(path, 'the statement lacks trust stores or trusted identities');
  for (const [index, store] of stores.entries())
    if (!storePattern.test(store))
      report(
        [...path, 'trustStores', index],
        `"${store}" is not TYPE:NAME with the type ca, signingAuthority or tsa`,
      );
  checkIdentities(identities, [...path, 'trustedIdentities'], report);
  return {
    name,
    path,
    scopes,
    level: level ?? 'strict',
    override,
    ...(typeof verifyTimestamp === 'string' && verifyTimestamp !== '' ? { verifyTimestamp } : {}),
    stores: [...new Set(stores)],
    identities,
  };
}

function checkOverride(
  value: unknown,
  level: string | undefined,
  path: readonly PathSegment[],
  report: Report,
): void {
  const entries = Object.entries(recordOf(value) ?? {});
  if (entries.length > 0 && level === 'skip') report(path, 'the level skip cannot be overridden');
  for (const [type, action] of entries) {
    if (!['authenticity', 'authenticTimestamp', 'expiry', 'revocation'].includes(type))
      report([...path, type], `${type} cannot be overridden`);
    else if (action !== 'enforce' && action !== 'log' && !(type === 'revocation' && action === 'skip'))
      report([...path, type], `${type} cannot be ${JSON.stringify(action)}`);
  }
}

function checkScopes(scopes: readonly string[], path: readonly PathSegment[], report: Report): void {
  if (scopes.length === 0) report(path, 'the statement has no registry scopes');
  if (scopes.length > 1 && scopes.includes('*')) report(path, '"*" cannot be combined with other scopes');
  for (const [index, scope] of scopes.entries())
    if (scope !== '*' && !scopePattern.test(scope))
      report([...path, index], `"${scope}" is not a repository with its registry, without tag and wildcard`);
}

function checkIdentities(identities: readonly string[], path: readonly PathSegment[], report: Report): void {
  if (identities.length > 1 && identities.includes('*'))
    report(path, '"*" cannot be combined with other identities');
  const known: { readonly identity: string; readonly subject: ReadonlyMap<string, string> }[] = [];
  for (const [index, identity] of identities.entries()) {
    if (identity === '*') continue;
    const value = subjectTextOf(identity);
    if (!identity.includes(':')) report([...path, index], `"${identity}" has no type before a colon`);
    if (value === undefined) continue;
    const subject = parseSubject(value);
    if ('problem' in subject) report([...path, index], `"${identity}": ${subject.problem}`);
    else {
      const other = known.find((one) => isSubset(one.subject, subject) || isSubset(subject, one.subject));
      if (other !== undefined) report([...path, index], `"${identity}" overlaps with "${other.identity}"`);
      known.push({ identity, subject });
    }
  }
}

/**
 * Returns the subject of an `x509.subject` identity, or undefined for other types, which belong to plugins.
 */
export function subjectTextOf(identity: string): string | undefined {
  return /^x509\.subject:(.*)$/s.exec(identity)?.[1]?.trim();
}

function checkUnique(statements: readonly Statement[], report: Report): void {
  const names = new Set<string>();
  const scopes = new Set<string>();
  for (const statement of statements) {
    if (names.has(statement.name))
      report([...statement.path, 'name'], `two statements have the name "${statement.name}"`);
    names.add(statement.name);
    for (const [index, scope] of statement.scopes.entries()) {
      if (scopes.has(scope))
        report([...statement.path, 'registryScopes', index], `the scope "${scope}" is listed twice`);
      scopes.add(scope);
    }
  }
}

function listOf(value: unknown, path: readonly PathSegment[], report: Report): readonly string[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.every((entry) => typeof entry === 'string')) return value;
  report(path, 'it is not a list of strings');
  return [];
}

function invalid(file: string, problems: readonly Problem[]): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_IMPORT_INVALID',
    kind: 'invalid',
    attempted: "import notation's trust policy",
    on: file,
    why: describeProblems(problems),
    fix: 'correct the lines named',
    details: { problems },
  });
}
