import type { PathSegment } from '../../base/schema/index.ts';
import { capabilityName, CAPABILITIES } from '../capabilities/capability-names.ts';
import { LIMIT_BOUNDS, readBound, RESOURCE_BOUNDS } from '../catalog/resources.ts';
import { NOTHING, partOf } from '../catalog/part.ts';
import type { Part } from '../catalog/part.ts';
import { LIMIT_NAMES, RESOURCE_NAMES } from '../profile/sets.ts';
import { unionCalls, wholeCalls, withoutCalls } from '../seccomp/call-set.ts';
import type { CallSet } from '../seccomp/call-set.ts';
import { callsOfCapability } from '../seccomp/default-policy.ts';
import type { CompatArchitecture } from '../seccomp/policy.ts';
import type { Capability } from '../types.ts';
import { deviceGrants, readDevice } from '../profile/devices.ts';
import type { DeviceGrant, Limit, LimitName, OwnNamespace, ResourceName } from '../profile/model.ts';
import type { Report } from './report.ts';
import { read, readDenied, readFiles, readMounts, readPaths, readPeers } from './rule-items.ts';
import type { FileSection, MountSection, PeerSection } from './rule-items.ts';
import { limitKey } from './schema.ts';
import { readCalls } from './syscall-items.ts';

interface Changes<T> {
  readonly add?: readonly T[];
  readonly drop?: readonly T[];
}

/** The keys of a profile that state something themselves. The schema holds and parameters are replaced. */
export interface Sections {
  readonly files?: FileSection;
  readonly network?: { readonly egress?: readonly PeerSection[]; readonly ingress?: readonly PeerSection[] };
  readonly syscalls?: Changes<unknown> & { readonly architectures?: readonly CompatArchitecture[] };
  readonly capabilities?: Changes<string> & { readonly ambient?: readonly string[] };
  readonly devices?: Changes<string>;
  readonly mounts?: readonly MountSection[];
  readonly paths?: { readonly masked?: readonly string[]; readonly readonly?: readonly string[] };
  readonly namespaces?: { readonly own?: readonly OwnNamespace[] };
  readonly resources?: Readonly<Record<string, unknown>>;
}

/** The profile's own statements, without parents and entitlements. */
export interface Own {
  /** Its additions and removals. Nothing is in both. */
  readonly part: Part;
  /** Limits that it sets or lifts: those of parents and entitlements do not count. */
  readonly limits: ReadonlySet<LimitName>;
  readonly resources: ReadonlySet<ResourceName>;
}

/**
 * @param value the document, with parameters replaced
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function readSections(value: Sections, name: string, report: Report): Own {
  const capabilities = {
    add: readCapabilities(value.capabilities?.add ?? [], 'add', report),
    drop: readCapabilities(value.capabilities?.drop ?? [], 'drop', report),
    ambient: readCapabilities(value.capabilities?.ambient ?? [], 'ambient', report),
  };
  reportBoth('capabilities', value.capabilities, report);
  reportBoth('syscalls', value.syscalls, report);
  reportBoth('devices', value.devices, report);
  const added = unionCalls(...defined(readCalls(value.syscalls?.add ?? [], ['syscalls', 'add'], report)));
  const dropped = unionCalls(...defined(readCalls(value.syscalls?.drop ?? [], ['syscalls', 'drop'], report)));
  const implied = withoutCalls(wholeCalls(capabilities.add.flatMap(callsOfCapability)), dropped);
  const calls = unionCalls(added, implied);
  const devices = {
    add: readDevices(value.devices?.add ?? [], 'add', report),
    drop: readDevices(value.devices?.drop ?? [], 'drop', report),
  };
  const { limits, resources, bounds, lifted } = readBounds(value.resources ?? {}, report);
  const { network } = value;
  const files = value.files === undefined ? {} : readFiles(value.files, ['files'], report);
  const base = partOf(name, {
    grants: {
      capabilities: capabilities.add,
      ambient: capabilities.ambient,
      architectures: value.syscalls?.architectures ?? [],
    },
    excludes: {
      capabilities: capabilities.drop.filter((one) => !capabilities.add.includes(one)),
      maskedPaths: readPaths(value.paths?.masked ?? [], ['paths', 'masked'], report),
      readonlyPaths: readPaths(value.paths?.readonly ?? [], ['paths', 'readonly'], report),
      sharedNamespaces: value.namespaces?.own ?? [],
      limits,
      resources,
    },
    rules: {
      ...(network?.egress !== undefined && {
        egress: network.egress.flatMap((rule, at) =>
          readPeers(rule, 'to', ['network', 'egress', at], report),
        ),
      }),
      ...(network?.ingress !== undefined && {
        ingress: network.ingress.flatMap((rule, at) =>
          readPeers(rule, 'from', ['network', 'ingress', at], report),
        ),
      }),
      ...(value.mounts !== undefined && { mounts: readMounts(value.mounts, report) }),
      ...files,
      deny: readDenied(value.files ?? {}, ['files'], report),
    },
  });
  return {
    part: {
      ...base,
      grants: { ...base.grants, calls, devices: devices.add },
      excludes: { ...base.excludes, calls: withoutCalls(dropped, added), devices: devices.drop },
    },
    limits: new Set([...bounds.limits, ...lifted.limits]),
    resources: new Set([...bounds.resources, ...lifted.resources]),
  };
}

function defined(sets: readonly (CallSet | undefined)[]): CallSet[] {
  return [NOTHING.grants.calls, ...sets.filter((set) => set !== undefined)];
}

function readCapabilities(
  names: readonly string[],
  list: 'add' | 'drop' | 'ambient',
  report: Report,
): readonly Capability[] {
  return names.flatMap((text, at) => {
    if (text === 'ALL' && list !== 'add') return CAPABILITIES;
    const name = capabilityName(text);
    if (name === undefined) {
      const all = text.toUpperCase() === 'ALL';
      report(
        ['capabilities', list, at],
        all ? 'ALL can only be dropped' : `there is no capability \`${text.slice(0, 80)}\``,
        all
          ? 'name each capability that is needed'
          : 'use a name of capabilities(7), such as NET_BIND_SERVICE',
      );
    }
    return name ?? [];
  });
}

function readDevices(items: readonly string[], list: 'add' | 'drop', report: Report): DeviceGrant[] {
  return deviceGrants(read(items, readDevice, (at) => ['devices', list, at], report).flat());
}

/**
 * Reports an item that is in both lists: the code does not guess which one is meant. A call with conditions
 * is a different item.
 */
function reportBoth(field: string, lists: Changes<unknown> | undefined, report: Report): void {
  const plain = (item: unknown): string =>
    typeof item !== 'string' ? '' : field === 'capabilities' ? (capabilityName(item) ?? '') : item;
  const added = new Set((lists?.add ?? []).map(plain));
  lists?.drop?.forEach((item, at) => {
    const name = plain(item);
    if (name !== '' && added.has(name))
      report([field, 'drop', at], `\`${name}\` is under add as well`, 'keep one of the two');
  });
}

interface Bounds {
  readonly limits: Partial<Record<LimitName, Limit>>;
  readonly resources: Partial<Record<ResourceName, bigint>>;
  readonly bounds: { readonly limits: readonly LimitName[]; readonly resources: readonly ResourceName[] };
  readonly lifted: { readonly limits: readonly LimitName[]; readonly resources: readonly ResourceName[] };
}

function readBounds(written: Readonly<Record<string, unknown>>, report: Report): Bounds {
  const limits: Partial<Record<LimitName, Limit>> = {};
  const resources: Partial<Record<ResourceName, bigint>> = {};
  const lifted: { limits: LimitName[]; resources: ResourceName[] } = { limits: [], resources: [] };
  for (const name of RESOURCE_NAMES) {
    const value = written[name];
    if (value === 'unlimited') lifted.resources.push(name);
    else if (value !== undefined) {
      const [found] = read(
        [value],
        (one) => readBound(RESOURCE_BOUNDS[name], one),
        () => ['resources', name],
        report,
      );
      if (found !== undefined) resources[name] = found;
    }
  }
  for (const name of LIMIT_NAMES) {
    const key = limitKey(name);
    const value = written[key];
    if (value === 'unlimited') lifted.limits.push(name);
    else if (value !== undefined) {
      const found = readLimit(name, value, ['resources', key], report);
      if (found !== undefined) limits[name] = found;
    }
  }
  const bounds = {
    limits: LIMIT_NAMES.filter((name) => limits[name] !== undefined),
    resources: RESOURCE_NAMES.filter((name) => resources[name] !== undefined),
  };
  return { limits, resources, bounds, lifted };
}

function readLimit(
  name: LimitName,
  written: unknown,
  path: readonly PathSegment[],
  report: Report,
): Limit | undefined {
  const of = (value: unknown, place: readonly PathSegment[]): bigint | undefined =>
    read(
      [value],
      (one) => readBound(LIMIT_BOUNDS[name], one),
      () => place,
      report,
    )[0];
  if (typeof written !== 'object' || written === null) {
    const value = of(written, path);
    return value === undefined ? undefined : { soft: value, hard: value };
  }
  const both = written as { readonly soft: unknown; readonly hard: unknown };
  const [soft, hard] = [of(both.soft, [...path, 'soft']), of(both.hard, [...path, 'hard'])];
  if (soft === undefined || hard === undefined) return undefined;
  if (soft <= hard) return { soft, hard };
  report([...path, 'soft'], 'the soft limit is above the hard one', 'lower it');
  return undefined;
}
