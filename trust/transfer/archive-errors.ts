import { PortcullisError } from '../../base/errors/index.ts';

/** Returns the error of an archive that lacks an object. */
export function missing(on: string): PortcullisError {
  return new PortcullisError({
    // As a registry reports it.
    code: 'DISTRIBUTION_NOT_FOUND',
    kind: 'not-found',
    attempted: 'read archive',
    on,
    why: 'the archive does not contain it',
    fix: 'create the archive again, with every platform of the image, or name the digest of one platform with --image',
  });
}

/** The code of {@link damaged}. */
export const damageCode = 'TRUST_ARCHIVE_DAMAGED';

/** Returns the error of an archive whose content is not what the archive says. */
export function damaged(on: string, why: string, fix = 'create the archive again'): PortcullisError {
  return new PortcullisError({
    code: damageCode,
    kind: 'invalid',
    attempted: 'read archive',
    on,
    why,
    fix,
  });
}
