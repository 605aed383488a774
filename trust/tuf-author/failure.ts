import { PortcullisError } from '../../base/errors/index.ts';

/** Why a collection cannot be changed, signed or published as requested. */
export type AuthorCode =
  | 'TRUST_AUTHOR_NAME'
  | 'TRUST_AUTHOR_NO_ROLE'
  | 'TRUST_AUTHOR_NO_TARGET'
  | 'TRUST_AUTHOR_THRESHOLD'
  | 'TRUST_AUTHOR_ROLE_NAME'
  | 'TRUST_AUTHOR_NOT_IN_DIALECT'
  | 'TRUST_AUTHOR_UNSIGNED'
  | 'TRUST_AUTHOR_OTHER_DRAFT'
  | 'TRUST_AUTHOR_DIALECTS_DIFFER'
  | 'TRUST_AUTHOR_BEHIND'
  | 'TRUST_AUTHOR_OCCUPIED'
  | 'TRUST_AUTHOR_REFUSED'
  | 'TRUST_AUTHOR_WORKING_FOLDER'
  | 'TRUST_AUTHOR_DESTINATION';

const fixes: Readonly<Record<AuthorCode, string>> = {
  TRUST_AUTHOR_NAME: 'name it as images are named, without the tag: registry.example.com/pay/app',
  TRUST_AUTHOR_NO_ROLE:
    'see the roles in portcullis trust inspect; if changes are staged for a role that was revoked meanwhile, take them back: portcullis trust unstage',
  TRUST_AUTHOR_NO_TARGET: 'see the targets in portcullis trust list',
  TRUST_AUTHOR_THRESHOLD: 'name as many different keys as must sign, or lower the threshold',
  TRUST_AUTHOR_ROLE_NAME: 'name it like targets/releases',
  TRUST_AUTHOR_NOT_IN_DIALECT:
    'use a form that both dialects support, or make a collection of one dialect: trust init --dialect tuf',
  TRUST_AUTHOR_UNSIGNED:
    'sign with the missing keys: name them with --key, or hand the working folder to their owners for trust witness',
  TRUST_AUTHOR_OTHER_DRAFT:
    'portcullis trust list and inspect show what is staged; ask the author of the draft to publish again',
  TRUST_AUTHOR_DIALECTS_DIFFER:
    'check portcullis trust list, then sign what Notary’s clients published: portcullis trust publish --countersign',
  TRUST_AUTHOR_BEHIND: 'run portcullis trust publish again: it then starts from the published files',
  TRUST_AUTHOR_OCCUPIED:
    'publish to another place, or change that collection in its own working folder (--dir); to replace it, remove its files there first',
  TRUST_AUTHOR_REFUSED: 'read what the service says, then portcullis trust inspect',
  TRUST_AUTHOR_WORKING_FOLDER: 'name the working folder with --dir',
  TRUST_AUTHOR_DESTINATION:
    'name a service (https://…), a registry (oci://REGISTRY/REPOSITORY) or a folder (/…) with --to',
};

export function authorFailure(
  code: AuthorCode,
  on: string,
  why: string,
  cause?: unknown,
  fix = fixes[code],
): PortcullisError<AuthorCode> {
  const kind =
    code === 'TRUST_AUTHOR_UNSIGNED' || code === 'TRUST_AUTHOR_OTHER_DRAFT' || code === 'TRUST_AUTHOR_REFUSED'
      ? 'denied'
      : code === 'TRUST_AUTHOR_BEHIND' ||
          code === 'TRUST_AUTHOR_OCCUPIED' ||
          code === 'TRUST_AUTHOR_DIALECTS_DIFFER'
        ? 'precondition'
        : 'invalid';
  return new PortcullisError({
    code,
    kind,
    attempted: 'author TUF metadata',
    on,
    why,
    fix,
    ...(cause === undefined ? {} : { cause }),
  });
}
