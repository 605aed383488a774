import { PortcullisError, fileReason, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Failure } from '../../base/errors/index.ts';
import { isUnavailable } from '../tuf/failure.ts';

/** Why a trusted root was not updated. Only `TRUST_ROOT_UPDATE_FAILED` may pass when it is tried again. */
type UpdateCode = 'TRUST_ROOT_REFUSED' | 'TRUST_ROOT_UNKNOWN' | 'TRUST_ROOT_UPDATE_FAILED';

const stays = 'policies continue to use the current root';

const failure = (
  on: string,
  facts: Pick<Failure<UpdateCode>, 'code' | 'kind' | 'why' | 'fix'>,
  cause?: unknown,
): PortcullisError =>
  new PortcullisError({
    attempted: 'update the sigstore trusted root',
    on,
    ...facts,
    ...(cause === undefined ? {} : { cause }),
  });

/**
 * The content that the repository serves is not valid: it is expired, wrongly signed, rolled back, or not a
 * trusted root.
 */
export function rootRefused(url: string, why: string, cause?: unknown): PortcullisError {
  const advice = isPortcullisError(cause) ? cause.failure.fix : 'report this to the repository';
  return failure(url, { code: 'TRUST_ROOT_REFUSED', kind: 'denied', why, fix: `${advice}; ${stays}` }, cause);
}

/** Neither the cache nor this version has a TUF root of the repository. */
export function rootUnknown(url: string): PortcullisError {
  return failure(url, {
    code: 'TRUST_ROOT_UNKNOWN',
    kind: 'precondition',
    why: 'no TUF root of this repository is known yet',
    fix: 'name its first TUF root: --root FILE',
  });
}

/** The given file is not a root that its own keys sign. The repository was not asked. */
export function firstRootInvalid(url: string, cause: unknown): PortcullisError {
  const why = isPortcullisError(cause) ? cause.failure.why : reasonOf(cause);
  return failure(
    url,
    {
      code: 'TRUST_ROOT_UNKNOWN',
      kind: 'invalid',
      why: `the given first TUF root is not valid: ${why}`,
      fix: 'name its first TUF root, such as its 1.root.json: --root FILE',
    },
    cause,
  );
}

/** Returns the failure of an update, by its cause. */
export function updateFailure(url: string, cause: unknown): PortcullisError {
  if (!isPortcullisError(cause))
    return failure(
      url,
      {
        code: 'TRUST_ROOT_UPDATE_FAILED',
        kind: 'unavailable',
        why: reasonOfFile(cause),
        fix: `check the folder of the roots; ${stays}`,
      },
      cause,
    );
  if (cause.code.startsWith('TRUST_ROOT_')) return cause;
  // A missing file is nothing that was served: the address may be wrong, or a mirror is not complete yet.
  const isMissing = cause.code === 'TRUST_TUF_MISSING';
  if (cause.code.startsWith('TRUST_TUF_') && !isMissing && !isUnavailable(cause.code))
    return rootRefused(url, cause.failure.why, cause);
  const { attempted, on, fix } = cause.failure;
  const isStorage = cause.code.startsWith('STORAGE_');
  const why = isStorage ? `cannot ${attempted} ${on}: ${cause.failure.why}` : cause.failure.why;
  const kind = isMissing ? 'unavailable' : cause.kind;
  return failure(url, { code: 'TRUST_ROOT_UPDATE_FAILED', kind, why, fix: `${fix}; ${stays}` }, cause);
}

/** Returns the reason of a failed file operation, with the path. */
function reasonOfFile(cause: unknown): string {
  const { path } = cause as NodeJS.ErrnoException;
  return path === undefined ? reasonOf(cause) : `${path} cannot be used: ${fileReason(cause, path)}`;
}
