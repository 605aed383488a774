import { entitlementsError } from '../errors.ts';
import type { Profile } from '../profile/model.ts';

/** Dimensions that `Settings` can not carry yet: a profile that restricts one of them is refused rather than compiled without it. */
const UNENFORCED: readonly (readonly [what: string, restricts: (profile: Profile) => boolean])[] = [
  ['network.egress', (profile) => profile.egress !== undefined],
  ['network.ingress', (profile) => profile.ingress !== undefined],
  ['mounts', (profile) => profile.mounts !== undefined],
  ['resources of the cgroup', (profile) => Object.keys(profile.resources).length > 0],
  ['namespaces of its own', (profile) => profile.ownNamespaces.length > 0],
  ['read-only volumes', (profile) => profile.readonlyVolumes],
  ['users other than root', (profile) => profile.nonRoot],
  ['compatibility architectures', (profile) => profile.syscalls.filtered && profile.syscalls.compat.length > 0],
];

/** @throws ENTITLEMENTS_UNSUPPORTED naming all that nothing would enforce */
export function refuseUnenforced(profile: Profile): void {
  const missing = UNENFORCED.filter(([, restricts]) => restricts(profile)).map(([what]) => what);
  if (missing.length === 0) return;
  throw entitlementsError('ENTITLEMENTS_UNSUPPORTED', {
    kind: 'precondition',
    attempted: 'compile profile',
    on: '',
    why: `nothing would enforce its rules on: ${missing.join(', ')}`,
    fix: 'take these rules out of the profile and of its ceilings',
    details: { missing },
  });
}
