import { formatPath } from '../../../base/schema/index.ts';
import type { Document, PathSegment } from '../../../base/schema/index.ts';
import { hasUsualHost, parseImagePattern } from '../../requirements/image-pattern.ts';
import type { ImportedPolicy, ImportedRule, Unmapped } from '../mapping/imported.ts';
import { readNotationPolicy, subjectTextOf } from './document.ts';
import type { Statement } from './document.ts';

export interface NotationImportOptions {
  /** The name of the file, for positions in messages. */
  readonly file: string;
  /** notation's `truststore` folder, relative to the policy that receives the rules. */
  readonly truststoreFolder: string;
}

/**
 * Converts notation's trust policy to rules. A statement for repositories takes precedence over the one for
 * `*`, which therefore excepts them. Notation compares hosts as they are written: for a host in another form
 * than in our references, both statements count. The level `skip` becomes `allow: unverified`. Parts without
 * a counterpart are denied and listed.
 * @throws PortcullisError `TRUST_IMPORT_INVALID` when notation would refuse the file too
 */
export function importNotation(text: string, options: NotationImportOptions): ImportedPolicy {
  const { document, kind, statements } = readNotationPolicy(text, options.file);
  const unmapped: Unmapped[] = [];
  const report = (path: readonly PathSegment[], why: string, became: string): void =>
    void unmapped.push(unmappedAt(document, path, why, became));
  if (kind === 'blob') {
    for (const { path } of statements)
      report(
        path,
        'the statement is about blobs, and rules are about images',
        'the statement is not imported',
      );
    return { rules: [], files: [], unmapped };
  }
  const named = statements
    .flatMap(({ scopes }) => scopes)
    .filter((scope) => scope !== '*' && patternOf(scope) !== undefined && hasUsualHost(scope));
  const rules = statements.flatMap((statement): ImportedRule[] => {
    const images = imagesOf(statement, report);
    if (images.length === 0) return [];
    const except =
      images.includes('**') && named.length > 0 ? { except: named.map((scope) => patternOf(scope)) } : {};
    const body = bodyOf(statement, options.truststoreFolder, report);
    return [{ comment: commentOf(statement), rule: { images, ...except, ...body } }];
  });
  return { rules, files: [], unmapped };
}

type Report = (path: readonly PathSegment[], why: string, became: string) => void;

function imagesOf({ scopes, path, level }: Statement, report: Report): readonly string[] {
  return scopes.flatMap((scope, index) => {
    if (scope === '*') return ['**'];
    const pattern = patternOf(scope);
    const at = [...path, 'registryScopes', index];
    if (pattern === undefined) {
      report(
        at,
        `"${scope}" names no registry: it is an OCI layout on disk`,
        'no image of a registry has that name',
      );
      return [];
    }
    if (level !== 'skip' || hasUsualHost(scope)) return [pattern];
    report(at, 'references here never have the host in this form', 'the level skip has no effect for it');
    return [];
  });
}

/**
 * Returns the pattern of a scope, or undefined when its first segment is not a registry, so that the name
 * would mean a different image here.
 */
function patternOf(scope: string): string | undefined {
  const [host = '', ...path] = scope.split('/');
  if (host !== 'localhost' && !/[.:]/.test(host)) return undefined;
  const pattern = `${host.toLowerCase()}/${path.join('/')}`;
  try {
    parseImagePattern(pattern);
    return pattern;
  } catch {
    return undefined;
  }
}

function bodyOf(statement: Statement, folder: string, report: Report): Readonly<Record<string, unknown>> {
  const { level, path, scopes, override, verifyTimestamp, stores } = statement;
  if (level === 'skip') {
    if (!scopes.includes('*')) return { allow: 'unverified' };
    report(
      [...path, 'signatureVerification', 'level'],
      'the level skip may not be used with the scope "*" (trust-store-trust-policy.md)',
      'its images are denied',
    );
    return { deny: 'notation would skip the verification of every image' };
  }
  const identities = statement.identities.filter((identity, index) => {
    if (identity === '*' || subjectTextOf(identity) !== undefined) return true;
    report(
      [...path, 'trustedIdentities', index],
      `"${identity}" is for a plugin of notation`,
      'this identity is no longer trusted',
    );
    return false;
  });
  if (identities.length === 0) return { deny: 'no identity of the statement is supported here' };
  return {
    require: {
      notation: {
        truststore: stores.map((store) => store.replace(':', '/')),
        folder,
        ...(identities.includes('*')
          ? {}
          : { identities: identities.map((identity) => `x509.subject: ${subjectTextOf(identity) ?? ''}`) }),
        level,
        ...(Object.keys(override).length === 0 ? {} : { override }),
        ...(verifyTimestamp === undefined ? {} : { verifyTimestamp }),
      },
    },
  };
}

function commentOf({ name, level, override }: Statement): string {
  const logs = level === 'strict' ? Object.values(override).some((action) => action !== 'enforce') : true;
  const weak = level === 'skip' ? ': nothing is verified' : logs ? ': some failures are only logged' : '';
  return `notation's statement ${JSON.stringify(name)}, level ${level}${weak}`;
}

function unmappedAt(document: Document, path: readonly PathSegment[], why: string, became: string): Unmapped {
  const { file, line, column } = document.positionOf(path);
  return { file, line, column, path: formatPath(path), why, became };
}
