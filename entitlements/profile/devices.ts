import type { DeviceRule } from '../types.ts';
import type { DeviceGrant, Profile } from './model.ts';
import type { Read } from './values.ts';

/** Returns true if every access of `inner` is one of `outer`. */
export function grantWithin(inner: DeviceGrant, outer: DeviceGrant): boolean {
  return (
    inner.access === outer.access &&
    inner.type === outer.type &&
    (outer.major === undefined || outer.major === inner.major) &&
    (outer.minor === undefined || outer.minor === inner.minor)
  );
}

/** Returns true if the profile grants these accesses (of r, w and m) to one device. */
export function holdsDevice(
  { devices, hostDevices }: Pick<Profile, 'devices' | 'hostDevices'>,
  {
    type,
    major,
    minor,
    access,
  }: { readonly type: string; readonly major: number; readonly minor: number; readonly access: string },
): boolean {
  if (hostDevices) return true;
  const kind = type === 'b' ? 'b' : type === 'c' || type === 'u' ? 'c' : undefined;
  return (
    kind !== undefined &&
    (['r', 'w', 'm'] as const).every(
      (letter) =>
        !access.includes(letter) ||
        devices.some((grant) => grantWithin({ access: letter, type: kind, major, minor }, grant)),
    )
  );
}

/** Returns grants in their simplest form: none within another, sorted. */
export function deviceGrants(grants: readonly DeviceGrant[]): DeviceGrant[] {
  const distinct = [...new Map(grants.map((grant) => [key(grant), grant])).values()];
  return distinct
    .filter((grant) => !distinct.some((other) => other !== grant && grantWithin(grant, other)))
    .sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** Returns the access that both grant. */
export function meetDevices(a: readonly DeviceGrant[], b: readonly DeviceGrant[]): DeviceGrant[] {
  return deviceGrants(a.flatMap((one) => b.flatMap((other) => meetGrants(one, other) ?? [])));
}

function meetGrants(a: DeviceGrant, b: DeviceGrant): DeviceGrant | undefined {
  if (a.access !== b.access || a.type !== b.type) return undefined;
  const major = meetNumbers(a.major, b.major);
  const minor = meetNumbers(a.minor, b.minor);
  if (major === 'none' || minor === 'none') return undefined;
  return {
    access: a.access,
    type: a.type,
    ...(major === undefined ? {} : { major }),
    ...(minor === undefined ? {} : { minor }),
  };
}

function meetNumbers(a: number | undefined, b: number | undefined): number | undefined | 'none' {
  if (a === undefined) return b;
  return b === undefined || a === b ? a : 'none';
}

/** Returns an access of `inner` that `outer` does not grant. */
export function deviceExcess(
  outer: readonly DeviceGrant[],
  inner: readonly DeviceGrant[],
): DeviceGrant | undefined {
  return inner.find((grant) => !outer.some((other) => grantWithin(grant, other)));
}

/**
 * Returns the grants as rules of the device cgroup: deny all, then the allowed devices; or allow all if
 * nothing is excluded.
 */
export function deviceRules(grants: readonly DeviceGrant[]): DeviceRule[] {
  const everything = (['b', 'c'] as const).every((type) =>
    (['r', 'w', 'm'] as const).every((access) =>
      grants.some((grant) => grantWithin({ type, access }, grant)),
    ),
  );
  if (everything) return [{ allow: true, type: 'a', access: 'rwm' }];
  const bySet = new Map<string, DeviceGrant[]>();
  for (const grant of grants) {
    const set = `${grant.type} ${grant.major ?? '*'}:${grant.minor ?? '*'}`;
    bySet.set(set, [...(bySet.get(set) ?? []), grant]);
  }
  const allowed = [...bySet.values()].flatMap((group): DeviceRule[] => {
    const first = group[0];
    if (first === undefined) return [];
    const access = (['r', 'w', 'm'] as const)
      .filter((letter) => group.some((grant) => grant.access === letter))
      .join('');
    const { type, major, minor } = first;
    return [
      {
        allow: true,
        type,
        ...(major === undefined ? {} : { major }),
        ...(minor === undefined ? {} : { minor }),
        access,
      },
    ];
  });
  return [{ allow: false, type: 'a', access: 'rwm' }, ...allowed];
}

/** Parses grants in a compact notation used in this folder's own code: `c 1:3 rwm`, `b *:* m`. */
export function parseDeviceGrants(lines: readonly string[]): DeviceGrant[] {
  return deviceGrants(
    lines.flatMap((line) => {
      const found = readDevice(line);
      if (!('value' in found)) throw new Error(`${found.problem}: ${line}`);
      return found.value;
    }),
  );
}

/** Majors have 12 bits, minors 20 (linux/kdev_t.h). */
const MAX_MAJOR = 4095;
const MAX_MINOR = 1048575;

/** Reads one device with any number, or all of a type: `c 10:232 rw`, `b 8:* r`. */
export function readDevice(written: unknown): Read<DeviceGrant[]> {
  const fix = 'write c or b, major:minor or *, and of r, w and m what is meant: c 10:232 rw';
  const found = /^([bc]) (\d{1,7}|\*):(\d{1,7}|\*) (?=[rwm])(r?w?m?)$/.exec(
    typeof written === 'string' ? written : '',
  );
  if (found === null) return { problem: `${JSON.stringify(written)} is not a device`, fix };
  const [, type, major, minor, access] = found;
  if ((major !== '*' && Number(major) > MAX_MAJOR) || (minor !== '*' && Number(minor) > MAX_MINOR))
    return {
      problem: `no device has the number ${major}:${minor}`,
      fix: `majors end at ${MAX_MAJOR}, minors at ${MAX_MINOR}`,
    };
  const value = Array.from(access ?? '').map((letter): DeviceGrant => ({
    access: letter as DeviceGrant['access'],
    type: type as DeviceGrant['type'],
    ...(major === '*' ? {} : { major: Number(major) }),
    ...(minor === '*' ? {} : { minor: Number(minor) }),
  }));
  return { value };
}

/**
 * Removes grants.
 * @returns if a grant is wider than what is removed, that grant: the remainder cannot be expressed
 */
export function withoutDevices(
  from: readonly DeviceGrant[],
  remove: readonly DeviceGrant[],
): DeviceGrant[] | { readonly wider: DeviceGrant } {
  const left = from.filter((grant) => !remove.some((gone) => grantWithin(grant, gone)));
  const wider = left.find((grant) => remove.some((gone) => meetDevices([grant], [gone]).length > 0));
  return wider === undefined ? left : { wider };
}

/** Returns a text that two grants share only if they are the same. */
function key(grant: DeviceGrant): string {
  return `${grant.type} ${grant.major ?? '*'}:${grant.minor ?? '*'} ${grant.access}`;
}

/** Returns a grant as text: `c 1:3 r`. */
export const formatDevice = key;

/** Returns a rule of the device cgroup as text: `c 1:3 rw`. */
export function formatRule({ type, major, minor, access }: DeviceRule): string {
  return `${type} ${major ?? '*'}:${minor ?? '*'} ${access}`;
}
