import { PortcullisError } from '../../base/errors/index.ts';
import { ProfileType } from '../cri/contract/contract.types.ts';
import type { LinuxContainerSecurityContext } from '../cri/contract/contract.types.ts';

export type AppArmorRequest = { readonly type: 'RuntimeDefault' | 'Unconfined' } | { readonly type: 'Localhost'; readonly name: string };

const localhostPrefix = 'localhost/';

/**
 * The AppArmor profile that is asked for: the message, else the deprecated string (`runtime/default`, `unconfined`, `localhost/NAME`).
 * Undefined when neither says anything. An unknown type is an error and not "unconfined". Pure. Source: cri-api SecurityProfile.
 * @throws PortcullisError RUNTIME_BAD_APPARMOR
 */
export function appArmorRequest(
  security: Pick<LinuxContainerSecurityContext, 'apparmor' | 'apparmorProfile'> | undefined,
): AppArmorRequest | undefined {
  const message = security?.apparmor;
  if (message !== undefined) {
    if (message.profileType !== ProfileType.Localhost && message.localhostRef !== '')
      throw badAppArmor(message.localhostRef, 'localhost_ref belongs to the profile type Localhost alone', 'leave it out, or set the type');
    switch (message.profileType) {
      case ProfileType.RuntimeDefault:
        return { type: 'RuntimeDefault' };
      case ProfileType.Unconfined:
        return { type: 'Unconfined' };
      case ProfileType.Localhost:
        return localhost(message.localhostRef);
      default:
        throw badAppArmor(String(message.profileType), 'the profile type is unknown', 'use RuntimeDefault, Unconfined or Localhost');
    }
  }
  const text = security?.apparmorProfile ?? '';
  if (text === '') return undefined;
  if (text === 'runtime/default') return { type: 'RuntimeDefault' };
  if (text === 'unconfined') return { type: 'Unconfined' };
  if (text.startsWith(localhostPrefix)) return localhost(text);
  throw badAppArmor(text, 'it is not a known form', 'use runtime/default, unconfined or localhost/NAME');
}

/** A kubelet gives the bare name, and some callers the deprecated form in the new field. */
function localhost(text: string): AppArmorRequest {
  const name = text.startsWith(localhostPrefix) ? text.slice(localhostPrefix.length) : text;
  // Of a label, `//&` would put two together; the kernel's own lists have one profile a line.
  if (name === '' || name === 'unconfined' || name.includes('//&') || /[\0-\x1f\x7f]/.test(name) || name.length > 512)
    throw badAppArmor(JSON.stringify(name.slice(0, 80)), 'it is not the name of a profile', 'give the name of a loaded AppArmor profile');
  return { type: 'Localhost', name };
}

export function badAppArmor(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code: 'RUNTIME_BAD_APPARMOR', kind: 'invalid', attempted: 'use AppArmor profile', on, why, fix });
}
