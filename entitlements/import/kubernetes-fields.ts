import { capabilityName } from '../capabilities/capability-names.ts';
import { entitlementsError } from '../errors.ts';
import { misspelled, unknownField, unknownFieldText } from './known-fields.ts';

export type Fields = Readonly<Record<string, unknown>>;

const SECCOMP = ['localhostProfile', 'type'];
const APPARMOR = SECCOMP;
const SELINUX = ['level', 'role', 'type', 'user'];

/** Returns the fields of an object, and none for any other value. */
export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/** @throws ENTITLEMENTS_BAD_PROFILE unless the field is an object */
export function member(value: unknown, key: string, path: string): Fields {
  const found = fieldsOf(value)[key];
  if (typeof found !== 'object' || found === null || Array.isArray(found))
    throw bad(path, 'it is not an object');
  return found as Fields;
}

/**
 * Checks that all fields of a security context and its parts are known, because a misspelled field would have
 * no effect.
 */
export function securityContext(value: Fields, known: readonly string[], path: string): Fields {
  const found = closed(value, 'securityContext', known, path);
  const place = `${path}.securityContext`;
  closed(found, 'seccompProfile', SECCOMP, place);
  closed(found, 'appArmorProfile', APPARMOR, place);
  closed(found, 'seLinuxOptions', SELINUX, place);
  return found;
}

/** Returns an object in which only the known fields may occur. @throws ENTITLEMENTS_BAD_PROFILE */
export function closed(value: Fields, key: string, known: readonly string[], path: string): Fields {
  const found = optional(value, key, path);
  const unknown = unknownField(found, known);
  if (unknown !== undefined) throw bad(`${path}.${key}.${unknown.key}`, unknownFieldText(unknown));
  return found;
}

/** @throws ENTITLEMENTS_BAD_PROFILE for a field whose name is close to a known one */
export function refuseSlips(value: Fields, known: readonly string[], path: string): void {
  const slip = misspelled(value, known);
  if (slip !== undefined) throw bad(`${path}.${slip.key}`, unknownFieldText(slip));
}

export function optional(value: Fields, key: string, path: string): Fields {
  return value[key] === undefined || value[key] === null ? {} : member(value, key, `${path}.${key}`);
}

export function listOf(value: unknown, path: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw bad(path, 'it is not a list');
  return value;
}

export function texts(value: unknown, path: string): string[] {
  return listOf(value, path).map((item, at) => {
    if (typeof item !== 'string') throw bad(`${path}[${at}]`, 'it is not a text');
    if (!/^(CAP_)?ALL$/i.test(item) && capabilityName(item) === undefined)
      throw bad(`${path}[${at}]`, `there is no capability ${item}`);
    return item;
  });
}

export function flag(value: Fields, key: string, path: string): boolean {
  const found = value[key];
  if (found !== undefined && found !== null && typeof found !== 'boolean')
    throw bad(`${path}.${key}`, 'it is not true or false');
  return found === true;
}

export function bad(
  path: string,
  why: string,
  fix = 'write it as the Kubernetes API describes (kubectl explain pod.spec)',
): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read Kubernetes object',
    on: path,
    why,
    fix,
  });
}
