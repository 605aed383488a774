import { PortcullisError } from '../../base/errors/index.ts';
import type { ErrorKind } from '../../base/errors/index.ts';

/** Why a release of a policy cannot be published or used. */
export type ReleaseCode =
  | 'TRUST_RELEASE_MALFORMED'
  | 'TRUST_RELEASE_OUTSIDE'
  | 'TRUST_RELEASE_PLACE'
  | 'TRUST_RELEASE_UNKNOWN'
  | 'TRUST_RELEASE_LAST'
  | 'TRUST_RELEASE_NOT_READY';

const kinds: Readonly<Record<ReleaseCode, ErrorKind>> = {
  TRUST_RELEASE_MALFORMED: 'denied',
  TRUST_RELEASE_OUTSIDE: 'invalid',
  TRUST_RELEASE_PLACE: 'invalid',
  TRUST_RELEASE_UNKNOWN: 'not-found',
  TRUST_RELEASE_LAST: 'precondition',
  TRUST_RELEASE_NOT_READY: 'denied',
};

const fixes: Readonly<Record<ReleaseCode, string>> = {
  TRUST_RELEASE_MALFORMED: 'publish the policy again with portcullis policy publish',
  TRUST_RELEASE_OUTSIDE: 'put every file that the policy refers to into the folder of the policy',
  TRUST_RELEASE_PLACE: 'name a registry for the archives: --releases oci://REGISTRY/REPOSITORY',
  TRUST_RELEASE_UNKNOWN: 'see what is published: portcullis policy rollout NAME',
  TRUST_RELEASE_LAST: 'publish another release first',
  TRUST_RELEASE_NOT_READY:
    'see why with portcullis policy status on that node, then withdraw the release or continue',
};

/** Returns an error about a release or a part of it. */
export function releaseFailure(
  code: ReleaseCode,
  on: string,
  why: string,
  cause?: unknown,
): PortcullisError<ReleaseCode> {
  return new PortcullisError({
    code,
    kind: kinds[code],
    attempted: 'use policy release',
    on,
    why,
    fix: fixes[code],
    ...(cause === undefined ? {} : { cause }),
  });
}
