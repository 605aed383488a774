import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';
import type { ErrorKind } from '../../base/errors/index.ts';

/** Why metadata or a target was not trusted. Each code names an attack, or a fault that looks like one. */
export type TufCode =
  | 'TRUST_TUF_MALFORMED'
  | 'TRUST_TUF_UNSIGNED'
  | 'TRUST_TUF_ROLLBACK'
  | 'TRUST_TUF_EXPIRED'
  | 'TRUST_TUF_MIX_AND_MATCH'
  | 'TRUST_TUF_WRONG_LENGTH'
  | 'TRUST_TUF_WRONG_HASH'
  | 'TRUST_TUF_TOO_LARGE'
  | 'TRUST_TUF_TOO_SLOW'
  | 'TRUST_TUF_NOT_DELEGATED'
  | 'TRUST_TUF_NO_TARGET'
  | 'TRUST_TUF_MISSING'
  | 'TRUST_TUF_ROOT_LOST'
  | 'TRUST_TUF_UNREACHABLE'
  | 'TRUST_TUF_UNAUTHORIZED'
  | 'TRUST_TUF_TOO_MANY_ROOTS';

const kinds: Partial<Record<TufCode, ErrorKind>> = {
  TRUST_TUF_NO_TARGET: 'not-found',
  TRUST_TUF_UNREACHABLE: 'unavailable',
  TRUST_TUF_UNAUTHORIZED: 'unavailable',
  TRUST_TUF_TOO_SLOW: 'unavailable',
};

const fixes: Readonly<Record<TufCode, string>> = {
  TRUST_TUF_MALFORMED: 'report this to the repository; what was trusted before stays trusted',
  TRUST_TUF_UNSIGNED:
    'report this to the repository; if its keys were changed by hand, distribute its new root',
  TRUST_TUF_ROLLBACK:
    'old metadata is served: ask the repository, not a mirror; what was trusted before stays trusted',
  TRUST_TUF_EXPIRED:
    'new metadata is withheld, or the repository has stopped signing; check the clock, then the repository',
  TRUST_TUF_MIX_AND_MATCH:
    'metadata of different moments is served together: ask the repository, not a mirror',
  TRUST_TUF_WRONG_LENGTH: 'the file is not what was signed: ask the repository, not a mirror',
  TRUST_TUF_WRONG_HASH: 'the file is not what was signed: ask the repository, not a mirror',
  TRUST_TUF_TOO_LARGE: 'raise the limit if the repository is really that large',
  TRUST_TUF_TOO_SLOW: 'try again, or ask another mirror',
  TRUST_TUF_NOT_DELEGATED: 'report this to the repository; the role may not sign for this path',
  TRUST_TUF_NO_TARGET: 'check the name; the repository has signed no such target',
  TRUST_TUF_MISSING:
    'the repository names a file that it does not serve: try again, then report this to the repository',
  TRUST_TUF_ROOT_LOST:
    'restore the file from a backup, name the root in the policy (`root`), or remove the folder to trust the service again on first use',
  TRUST_TUF_UNREACHABLE: 'check the address and the network, then try again',
  TRUST_TUF_UNAUTHORIZED:
    'give credentials that may read the image’s metadata: those of the pull, or docker login HOST of the service',
  TRUST_TUF_TOO_MANY_ROOTS: 'distribute a newer root of the repository',
};

/**
 * Returns whether a failure only means that the service could not be reached. Known metadata then remains in
 * force for as long as it would otherwise.
 */
export function isUnavailable(code: string): boolean {
  return kinds[code as TufCode] === 'unavailable';
}

/**
 * Shortens a text. The repository chooses the names and lists of its metadata, and a reason that is kept in
 * evidence and logs must not become as long as the file.
 */
export const shortened = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most)} …`;

/** Returns the remedy for a server whose certificate was refused, which is not a problem of the network. */
function certificateFix(cause: unknown): string | undefined {
  if (!isPortcullisError(cause) || cause.failure.details?.['certificate'] === undefined) return undefined;
  return cause.failure.fix;
}

/**
 * Returns an error about a role or target.
 * @param on the role or target, such as `snapshot` or `target "app:1"`
 */
export function tufFailure(
  code: TufCode,
  on: string,
  why: string,
  cause?: unknown,
  details?: Readonly<Record<string, unknown>>,
): PortcullisError<TufCode> {
  return new PortcullisError({
    code,
    kind: kinds[code] ?? 'denied',
    attempted: 'trust TUF',
    on: shortened(on, 512),
    why: shortened(why, 2048),
    fix: certificateFix(cause) ?? fixes[code],
    ...(cause === undefined ? {} : { cause }),
    ...(details === undefined ? {} : { details }),
  });
}
