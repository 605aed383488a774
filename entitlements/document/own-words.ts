import { unionParts } from '../catalog/part.ts';
import type { Part } from '../catalog/part.ts';
import { unionCalls, withoutCalls } from '../seccomp/call-set.ts';
import { builtinProfile } from '../profile/builtin.ts';
import { deviceGrants, formatDevice, withoutDevices } from '../profile/devices.ts';
import type { DeviceGrant } from '../profile/model.ts';
import type { Report } from './report.ts';
import type { Own } from './sections.ts';

/**
 * Returns the rest of an inherited part (of a parent or an entitlement), without the items that the profile's
 * own keys decide.
 */
export function decidedBy(own: Own, part: Part, report: Report): Part {
  const { grants, excludes } = own.part;
  const capabilities = new Set([...grants.capabilities, ...excludes.capabilities]);
  const calls = unionCalls(grants.calls, excludes.calls);
  const devices = [...grants.devices, ...excludes.devices];
  return {
    ...part,
    grants: {
      ...part.grants,
      capabilities: part.grants.capabilities.filter((name) => !capabilities.has(name)),
      calls: withoutCalls(part.grants.calls, calls),
      devices: leftDevices(part.grants.devices, devices, report),
    },
    excludes: {
      ...part.excludes,
      capabilities: part.excludes.capabilities.filter((name) => !capabilities.has(name)),
      calls: withoutCalls(part.excludes.calls, calls),
      devices: leftDevices(part.excludes.devices, devices, report),
      limits: without(part.excludes.limits, own.limits),
      resources: without(part.excludes.resources, own.resources),
    },
  };
}

function without<K extends string, V>(
  of: Readonly<Partial<Record<K, V>>>,
  names: ReadonlySet<K>,
): Partial<Record<K, V>> {
  return Object.fromEntries(Object.entries(of).filter(([name]) => !names.has(name as K))) as Partial<
    Record<K, V>
  >;
}

function leftDevices(
  from: readonly DeviceGrant[],
  decided: readonly DeviceGrant[],
  report: Report,
): readonly DeviceGrant[] {
  const left = withoutDevices(from, decided);
  if (!('wider' in left)) return left;
  report(
    ['devices'],
    `the wider grant ${formatDevice(left.wider)} cannot be divided`,
    'drop that grant, and add the part of it that remains',
    'key',
  );
  return from;
}

/** Returns the inherited part with the changes of the profile's own keys. */
export function changed(inherited: Part, own: Own, report: Report): Part {
  const part = unionParts(inherited.name, [inherited, own.part]);
  // This includes the default profile's devices: if a grant cannot be divided, that is reported, and the
  // grant is not kept silently.
  leftDevices(builtinProfile('default')?.devices ?? [], deviceGrants(own.part.excludes.devices), report);
  return part;
}
