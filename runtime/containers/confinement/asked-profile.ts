import type { PortcullisError } from '../../../base/errors/index.ts';
import { ProfileType } from '../../cri/contract/contract.types.ts';
import type { SecurityProfile } from '../../cri/contract/contract.types.ts';

/** The seccomp or AppArmor profile that a request names. */
export type AskedProfile =
  | { readonly type: 'RuntimeDefault' | 'Unconfined' }
  /** As in the request, with or without the `localhost/` prefix. */
  | { readonly type: 'Localhost'; readonly reference: string };

/** The prefix of a name or path in the deprecated strings. */
const localhostPrefix = 'localhost/';

/** Returns a name or path without its prefix: some callers put the deprecated form into the new field. */
export function withoutLocalhost(reference: string): string {
  return reference.startsWith(localhostPrefix) ? reference.slice(localhostPrefix.length) : reference;
}

/**
 * Returns the requested profile: from the message, else from the deprecated string. Undefined when neither
 * requests one. An unknown type is an error and not "unconfined". Pure.
 * Source: cri-api SecurityProfile.
 * @param words the deprecated strings for the runtime's default, and the name of the third form
 * @throws the error that `bad` returns
 */
export function askedProfile(
  message: SecurityProfile | undefined,
  deprecated: string,
  words: { readonly defaults: readonly string[]; readonly localhost: string },
  bad: (on: string, why: string, fix: string) => PortcullisError,
): AskedProfile | undefined {
  if (message !== undefined) {
    if (message.profileType !== ProfileType.Localhost && message.localhostRef !== '')
      throw bad(
        message.localhostRef,
        'localhost_ref is only valid with the profile type Localhost',
        'remove it, or set the type',
      );
    switch (message.profileType) {
      case ProfileType.RuntimeDefault:
        return { type: 'RuntimeDefault' };
      case ProfileType.Unconfined:
        return { type: 'Unconfined' };
      case ProfileType.Localhost:
        return { type: 'Localhost', reference: message.localhostRef };
      default:
        throw bad(
          String(message.profileType),
          'the profile type is unknown',
          'use RuntimeDefault, Unconfined or Localhost',
        );
    }
  }
  if (deprecated === '') return undefined;
  if (words.defaults.includes(deprecated)) return { type: 'RuntimeDefault' };
  if (deprecated === 'unconfined') return { type: 'Unconfined' };
  if (deprecated.startsWith(localhostPrefix)) return { type: 'Localhost', reference: deprecated };
  throw bad(
    deprecated,
    'it is not a known form',
    `use runtime/default, unconfined or ${localhostPrefix}${words.localhost}`,
  );
}
