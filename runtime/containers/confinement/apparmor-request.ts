import { PortcullisError } from '../../../base/errors/index.ts';
import type { LinuxContainerSecurityContext } from '../../cri/contract/contract.types.ts';
import { askedProfile, withoutLocalhost } from './asked-profile.ts';

export type AppArmorRequest =
  | { readonly type: 'RuntimeDefault' | 'Unconfined' }
  | { readonly type: 'Localhost'; readonly name: string };

/**
 * Returns the requested AppArmor profile: from the message, else from the deprecated string
 * (`runtime/default`, `unconfined`, `localhost/NAME`). Undefined when neither requests one. An unknown type
 * is an error and not "unconfined". Pure.
 * Source: cri-api SecurityProfile.
 * @throws PortcullisError RUNTIME_BAD_APPARMOR
 */
export function appArmorRequest(
  security: Pick<LinuxContainerSecurityContext, 'apparmor' | 'apparmorProfile'> | undefined,
): AppArmorRequest | undefined {
  const words = { defaults: ['runtime/default'], localhost: 'NAME' };
  const asked = askedProfile(security?.apparmor, security?.apparmorProfile ?? '', words, badAppArmor);
  return asked?.type === 'Localhost' ? localhost(asked.reference) : asked;
}

/** A kubelet sends the name without a prefix. */
function localhost(text: string): AppArmorRequest {
  const name = withoutLocalhost(text);
  // In a label, `//&` would stack two profiles. The kernel lists one profile per line.
  if (
    name === '' ||
    name === 'unconfined' ||
    name.includes('//&') ||
    /[\0-\x1f\x7f]/.test(name) ||
    name.length > 512
  )
    throw badAppArmor(
      JSON.stringify(name.slice(0, 80)),
      'it is not a valid profile name',
      'give the name of a loaded AppArmor profile',
    );
  return { type: 'Localhost', name };
}

export function badAppArmor(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_APPARMOR',
    kind: 'invalid',
    attempted: 'use AppArmor profile',
    on,
    why,
    fix,
  });
}
