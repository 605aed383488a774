import { formatPath } from '../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';
import { capabilityName } from '../capabilities/names.ts';
import { CATALOG } from '../catalog/catalog.ts';
import { composeEntitlements, conflictsOf } from '../catalog/compose.ts';
import type { Entitlement } from '../catalog/entitlement.ts';
import { LIMIT_NAMES } from '../compare/sets.ts';
import { isSyscallName } from '../seccomp/syscalls.ts';
import type { Capability } from '../types.ts';
import { builtinProfile } from './builtin.ts';
import type { Limit, LimitName, Profile } from './model.ts';

/** A valid `kind: EntitlementProfile` document, by its schema. */
interface ProfileDocument {
  readonly metadata: { readonly name: string };
  readonly entitlements?: readonly string[];
  readonly files?: unknown;
  readonly network?: unknown;
  readonly syscalls?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  readonly resources?: Readonly<Record<string, string | number>>;
}

export interface NamedProfile {
  readonly name: string;
  /** The names under `entitlements`, as written. */
  readonly entitlements: readonly string[];
  readonly profile: Profile;
}

/**
 * The profile that a document means: the default one changed by its entitlements, then by `capabilities` and `syscalls`.
 * @param document passes {@link profileSchema}
 * @returns the profile, or every problem that the schema can not see
 */
export function readProfile(document: Document): { readonly found?: NamedProfile; readonly problems: readonly Problem[] } {
  const value = document.value as ProfileDocument;
  const problems: Problem[] = [];
  const report = (path: readonly PathSegment[], message: string, fix: string, part: 'value' | 'key' = 'value'): void => {
    problems.push({ position: document.positionOf(path, part), path: formatPath(path), message, fix });
  };
  const { name } = value.metadata;
  if (builtinProfile(name) !== undefined) report(['metadata', 'name'], `\`${name}\` is a built-in profile`, 'choose another name');
  for (const field of ['files', 'network'] as const) {
    if (value[field] === undefined) continue;
    report([field], `${field} rules are not supported by this version`, 'take them out; nothing would enforce them', 'key');
  }
  const entitlements = readEntitlements(value.entitlements ?? [], report);
  const added = readCapabilities(value.capabilities?.add ?? [], 'add', report);
  const dropped = readCapabilities(value.capabilities?.drop ?? [], 'drop', report);
  reportBoth('capabilities', value.capabilities, report);
  reportBoth('syscalls', value.syscalls, report);
  for (const list of ['add', 'drop'] as const) {
    value.syscalls?.[list]?.forEach((call, at) => {
      if (!isSyscallName(call))
        report(['syscalls', list, at], `there is no system call \`${call}\` on x86_64 or aarch64`, 'see syscalls(2)');
    });
  }
  if (problems.length > 0) return { problems };
  const composed = composeEntitlements(entitlements, {
    addCapabilities: added === 'ALL' ? [] : added,
    dropCapabilities: dropped,
    addSyscalls: value.syscalls?.add ?? [],
    dropSyscalls: value.syscalls?.drop ?? [],
  });
  const profile = { ...composed, limits: limitsOf(value.resources ?? {}) };
  return { problems, found: { name, entitlements: value.entitlements ?? [], profile } };
}

type Report = (path: readonly PathSegment[], message: string, fix: string, part?: 'value' | 'key') => void;

function readEntitlements(names: readonly string[], report: Report): Entitlement[] {
  const entitlements: Entitlement[] = [];
  names.forEach((name, at) => {
    const entitlement = CATALOG.get(name.startsWith('api.access=') ? 'api.access' : name);
    if (entitlement === undefined) return;
    if (entitlement.refused !== undefined) report(['entitlements', at], `${name} is not supported: ${entitlement.refused}`, 'take it out');
    else entitlements.push(entitlement);
  });
  for (const { first, second, on } of conflictsOf(entitlements)) {
    report(['entitlements', names.lastIndexOf(second)], `${second} conflicts with ${first} on ${on}`, 'keep one of the two');
  }
  return entitlements;
}

function readCapabilities(names: readonly string[], list: 'add' | 'drop', report: Report): readonly Capability[] | 'ALL' {
  const found = names.flatMap((text, at) => {
    if (text === 'ALL' && list === 'drop') return ['ALL'];
    const name = capabilityName(text);
    if (name === undefined) {
      const all = text.toUpperCase() === 'ALL';
      report(
        ['capabilities', list, at],
        all ? 'ALL can only be dropped' : `there is no capability \`${text}\``,
        all ? 'name each capability that is needed' : 'use a name of capabilities(7), such as NET_BIND_SERVICE',
      );
    }
    return name ?? [];
  });
  return found.includes('ALL') ? 'ALL' : found;
}

function reportBoth(
  field: string,
  lists: { readonly add?: readonly string[]; readonly drop?: readonly string[] } | undefined,
  report: Report,
): void {
  lists?.drop?.forEach((name, at) => {
    if (lists.add?.includes(name)) report([field, 'drop', at], `\`${name}\` is under add as well`, 'keep one of the two');
  });
}

const UNITS: Readonly<Record<string, bigint>> = { Ki: 1n << 10n, Mi: 1n << 20n, Gi: 1n << 30n };

function limitsOf(resources: Readonly<Record<string, string | number>>): Profile['limits'] {
  const limits: Partial<Record<LimitName, Limit>> = {};
  for (const name of LIMIT_NAMES) {
    const written = resources[name.toLowerCase()];
    if (written === undefined) continue;
    const [, digits = '0', unit = ''] = /^(\d+)(Ki|Mi|Gi)?$/.exec(String(written)) ?? [];
    const value = BigInt(digits) * (UNITS[unit] ?? 1n);
    limits[name] = { soft: value, hard: value };
  }
  return limits;
}
