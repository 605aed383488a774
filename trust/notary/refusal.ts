import { shortened } from '../tuf/failure.ts';

/**
 * The errors of Notary's API (server/errors/errors.go of Notary 0.7.0), and `UNAUTHORIZED`, `UNAVAILABLE` and
 * `UNKNOWN` of the registry API.
 */
const known = {
  NO_FILENAME: [400, 'No file/role name provided.'],
  INVALID_ROLE: [400, 'The role you are attempting to operate on is invalid.'],
  MALFORMED_JSON: [400, 'JSON sent by the client could not be parsed by the server'],
  MALFORMED_UPLOAD: [400, 'The body of your request is malformed.'],
  UPDATING: [500, 'An error has occurred while updating the TUF repository.'],
  VERSION: [400, 'A newer version of metadata is already available.'],
  METADATA_NOT_FOUND: [404, 'You have requested metadata that does not exist.'],
  INVALID_UPDATE: [400, 'Update sent by the client is invalid.'],
  INVALID_GUN: [400, 'The server does not support actions on images of this name.'],
  INVALID_PARAMETERS: [400, 'The parameters provided are not valid.'],
  UNAUTHORIZED: [401, 'authentication required'],
  UNAVAILABLE: [503, 'service unavailable'],
  UNKNOWN: [500, 'unknown error'],
} as const;

export type RefusalCode = keyof typeof known;

/** The reasons for an invalid update, by Notary's names (tuf/validation/errors.go). */
export type UpdateFault =
  | 'ErrBadRoot'
  | 'ErrBadTargets'
  | 'ErrBadSnapshot'
  | 'ErrBadHierarchy'
  | 'ErrValidation';

/** The answer to a refused request. Plain data, so that Workers can pass it. */
export interface Refusal {
  readonly refused: RefusalCode;
  readonly detail?: unknown;
}

export const refuse = (refused: RefusalCode, detail?: unknown): Refusal => ({
  refused,
  ...(detail === undefined ? {} : { detail }),
});

/**
 * Refuses an invalid update.
 * @param missing the missing role, for `ErrBadHierarchy`
 */
export function invalidUpdate(name: UpdateFault, message: string, missing?: string): Refusal {
  const said = shortened(message, 2048);
  return refuse('INVALID_UPDATE', {
    Name: name,
    Error: missing === undefined ? { Msg: said } : { Missing: missing, Msg: said },
  });
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === 'object' && value !== null && 'refused' in value;
}

export const statusOf = ({ refused }: Refusal): number => known[refused][0];

/** Returns the body of the answer, as docker/distribution's errcode writes it. */
export function refusalBody({ refused, detail }: Refusal): Buffer {
  const error = { code: refused, message: known[refused][1], ...(detail === undefined ? {} : { detail }) };
  return Buffer.from(`${JSON.stringify({ errors: [error] })}\n`);
}
