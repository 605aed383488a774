import { fieldsOf } from './kubernetes-fields.ts';
import type { Fields } from './kubernetes-fields.ts';
import { entitlementsError } from '../errors.ts';
import { defaultProfile } from '../profile/builtin.ts';
import { importAppArmorAbstract } from './apparmor-abstract.ts';
import type { SeccompTarget } from './conditional-seccomp.ts';
import { profileName } from './imported.ts';
import type { Imported, Remark } from './imported.ts';
import { importSeccomp } from './seccomp.ts';

/** The API group of the security-profiles-operator. */
const GROUP = 'security-profiles-operator.x-k8s.io/';
const KINDS = ['SeccompProfile', 'AppArmorProfile', 'SelinuxProfile', 'RawSelinuxProfile'] as const;

/** Returns true for an object of the security-profiles-operator that contains a profile. */
export function isCustomResource(value: unknown): boolean {
  const { apiVersion, kind } = fieldsOf(value);
  return (
    typeof apiVersion === 'string' && apiVersion.startsWith(GROUP) && KINDS.some((known) => known === kind)
  );
}

/**
 * Imports a SeccompProfile or AppArmorProfile of the security-profiles-operator. An SelinuxProfile cannot be
 * expressed: it is listed, and the result is the default profile.
 * @throws ENTITLEMENTS_BAD_SECCOMP, ENTITLEMENTS_BAD_PROFILE
 */
export function importCustomResource(value: unknown, target: SeccompTarget): Imported {
  const top = fieldsOf(value);
  const spec = fieldsOf(top['spec']);
  if (top['spec'] === undefined) throw bad('spec', 'it is missing');
  const name =
    typeof fieldsOf(top['metadata'])['name'] === 'string'
      ? profileName(String(fieldsOf(top['metadata'])['name']))
      : undefined;
  const extra: Remark[] = [];
  const notes: Remark[] = [];
  if (spec['state'] === 'Disabled' || spec['disabled'] === true)
    notes.push({ part: 'spec.state', why: 'the operator does not install a disabled profile' });
  const found = read(top['kind'], spec, target, extra, notes);
  return {
    ...found,
    ...(name === undefined ? {} : { name }),
    unmapped: [...extra, ...found.unmapped],
    notes: [...notes, ...found.notes],
  };
}

function read(
  kind: unknown,
  spec: Fields,
  target: SeccompTarget,
  unmapped: Remark[],
  notes: Remark[],
): Imported {
  switch (kind) {
    case 'SeccompProfile': {
      const { baseProfileName, state: _state, disabled: _disabled, ...seccomp } = spec;
      if (baseProfileName !== undefined && baseProfileName !== '') {
        // The operator adds the base's rules. Beside this default they can only deny.
        if (['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG'].some((action) => action === spec['defaultAction']))
          throw bad(
            'spec.baseProfileName',
            'the base profile is not available, and the denials in it would be lost',
            'put the rules of the base profile in place of its name',
          );
        const named = JSON.stringify(baseProfileName);
        unmapped.push({
          part: 'spec.baseProfileName',
          why: `the profile ${named} is not available: its grants are missing; merge it with --join`,
        });
      }
      return importSeccomp(seccomp, target);
    }
    case 'AppArmorProfile':
      if (spec['mode'] === 'Complain') {
        notes.push({
          part: 'spec.mode',
          why: 'Complain mode only logs; its rules are imported as if they were enforced',
        });
      }
      return importAppArmorAbstract(spec['abstract'], 'spec.abstract');
    default:
      unmapped.push({
        part: 'spec',
        why: 'SELinux policies have no counterpart in a profile: the default profile is used',
      });
      return { profile: defaultProfile(), unmapped: [], notes: [] };
  }
}

function bad(at: string, why: string, fix = 'write it as its custom resource definition describes'): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read profile of the security-profiles-operator',
    on: at,
    why,
    fix,
  });
}
