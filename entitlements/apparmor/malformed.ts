import { entitlementsError } from '../errors.ts';

export function malformed(why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read compiled AppArmor policy',
    on: '',
    why: `it contains ${why}`,
    fix: 'compile it with apparmor_parser 3 or 4',
  });
}
