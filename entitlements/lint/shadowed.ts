import { entitlementNamed } from '../catalog/catalog.ts';
import { composed } from '../catalog/compose.ts';
import { NOTHING, partOf, unionParts } from '../catalog/part.ts';
import type { Part } from '../catalog/part.ts';
import { networkExcess } from '../compare/network-rules.ts';
import { capabilityName } from '../capabilities/capability-names.ts';
import { policyAllowing, policyWithout, unionCalls, wholeCalls, withoutCalls } from '../seccomp/call-set.ts';
import type { CallSet } from '../seccomp/call-set.ts';
import { callsOfCapability } from '../seccomp/default-policy.ts';
import { meetPolicies, policyExcess } from '../seccomp/policy.ts';
import { grantWithin, readDevice } from '../profile/devices.ts';
import type { Profile } from '../profile/model.ts';
import type { Capability, NetworkRule } from '../types.ts';
import type { ResolvedProfile } from '../document/resolve.ts';
import { ACCESSES, readPeers } from '../document/rule-items.ts';
import { readCalls } from '../document/syscall-items.ts';
import type { Find } from './finding.ts';
import { patternPairs } from './patterns.ts';

/** Longer lists are not compared item by item. */
const MAX_COMPARED = 200;
const silent = (): void => undefined;

/** Finds items of a profile that change nothing. */
export function shadowedRules({ value, inherited, own }: ResolvedProfile, find: Find): void {
  const before = composed(inherited);
  entitlements(value.entitlements ?? [], find);
  capabilities(value.capabilities, before, find);
  calls(value.syscalls ?? {}, withOwnCapabilities(inherited, own), find);
  devices(value.devices?.add ?? [], before, find);
  peers(value.network?.egress ?? [], 'egress', find);
  peers(value.network?.ingress ?? [], 'ingress', find);
  for (const access of ACCESSES) {
    patterns(value.files?.[access] ?? [], ['files', access], find);
    patterns(value.files?.deny?.[access] ?? [], ['files', 'deny', access], find);
  }
}

const REMOVE = 'remove it';

function entitlements(names: readonly string[], find: Find): void {
  if (names.length > MAX_COMPARED) return;
  const parts = names.map((text): Part => {
    const found = entitlementNamed(text);
    return 'problem' in found ? NOTHING : partOf('', found);
  });
  const text = (part: Part): string =>
    JSON.stringify(part, (_, item: unknown) =>
      typeof item === 'bigint' ? `${item}n` : item instanceof Map ? [...item] : item,
    );
  const whole = text(unionParts('', parts));
  const gone = new Set<number>();
  // From the end, so that the first of two equivalent items stays.
  for (let at = parts.length - 1; at >= 0; at--) {
    const rest = parts.filter((_, index) => index !== at && !gone.has(index));
    if (parts.length === 1 || text(unionParts('', rest)) !== whole) continue;
    gone.add(at);
    find(
      'shadowed-rule',
      ['entitlements', at],
      `the other entitlements already cover ${names[at] ?? ''}`,
      REMOVE,
    );
  }
}

function capabilities(lists: ResolvedProfile['value']['capabilities'], before: Profile, find: Find): void {
  (lists?.add ?? []).forEach((text, at) => {
    const name = capabilityName(text);
    // With `drop: [ALL]`, none of the previous capabilities remains.
    if (name === undefined || !before.capabilities.includes(name) || lists?.drop?.includes('ALL') === true)
      return;
    find('shadowed-rule', ['capabilities', 'add', at], `${name} is granted without it`, REMOVE);
  });
  (lists?.drop ?? []).forEach((text, at) => {
    const name = capabilityName(text);
    if (
      text === 'ALL'
        ? before.capabilities.length > 0
        : name === undefined || before.capabilities.includes(name)
    )
      return;
    find(
      'shadowed-rule',
      ['capabilities', 'drop', at],
      `${text === 'ALL' ? 'no capability' : `${name ?? ''} is not`} granted without it`,
      REMOVE,
    );
  });
}

/**
 * Returns the profile without its own statements on system calls. Its own capabilities count: they add their
 * calls, and dropped ones remove theirs.
 */
function withOwnCapabilities(inherited: Part, { part }: ResolvedProfile['own']): Profile {
  const added = part.grants.capabilities;
  const dropped = part.excludes.capabilities;
  const left = (names: readonly Capability[]): Capability[] =>
    names.filter((name) => !added.includes(name) && !dropped.includes(name));
  const { grants, excludes } = inherited;
  return composed({
    ...inherited,
    grants: {
      ...grants,
      capabilities: [...left(grants.capabilities), ...added],
      calls: unionCalls(grants.calls, wholeCalls(added.flatMap(callsOfCapability))),
    },
    excludes: { ...excludes, capabilities: [...left(excludes.capabilities), ...dropped] },
  });
}

function calls(
  lists: { readonly add?: readonly unknown[]; readonly drop?: readonly unknown[] },
  before: Profile,
  find: Find,
): void {
  const added = readCalls(lists.add ?? [], ['syscalls', 'add'], silent);
  const dropped = readCalls(lists.drop ?? [], ['syscalls', 'drop'], silent);
  if (added.length + dropped.length > MAX_COMPARED) return;
  dropped.forEach((set, at) => {
    if (set === undefined) return;
    if (policyExcess(policyWithout(set), before.syscalls) === undefined)
      find(
        'shadowed-rule',
        ['syscalls', 'drop', at],
        `${shown(lists.drop?.[at])} is denied without it`,
        REMOVE,
      );
    else covered(set, dropped, at, ['syscalls', 'drop', at], shown(lists.drop?.[at]), find);
  });
  const left = meetPolicies(
    before.syscalls,
    policyWithout(unionCalls(NOTHING.grants.calls, ...dropped.flatMap((set) => set ?? []))),
  );
  added.forEach((set, at) => {
    if (set === undefined) return;
    if (policyExcess(left, policyAllowing(set)) === undefined)
      find(
        'shadowed-rule',
        ['syscalls', 'add', at],
        `${shown(lists.add?.[at])} is allowed without it`,
        REMOVE,
      );
    else covered(set, added, at, ['syscalls', 'add', at], shown(lists.add?.[at]), find);
  });
}

/** Reports an item of a list that the other items cover. The first of two equivalent items stays. */
function covered(
  set: CallSet,
  all: readonly (CallSet | undefined)[],
  at: number,
  path: readonly (string | number)[],
  name: string,
  find: Find,
): void {
  const others = all.filter(
    (other, index) =>
      index !== at && other !== undefined && (index < at || withoutCalls(other, set).size > 0),
  );
  const rest = unionCalls(NOTHING.grants.calls, ...others.flatMap((other) => other ?? []));
  if (withoutCalls(set, rest).size === 0)
    find('shadowed-rule', path, `other items of the list cover ${name}`, REMOVE);
}

function shown(item: unknown): string {
  return typeof item === 'string' ? item : `${Object.keys(item ?? {})[0] ?? 'it'} with these arguments`;
}

function devices(items: readonly string[], before: Profile, find: Find): void {
  items.forEach((text, at) => {
    const found = readDevice(text);
    if (
      'value' in found &&
      found.value.every((one) => before.devices.some((grant) => grantWithin(one, grant)))
    )
      find('shadowed-rule', ['devices', 'add', at], `${text} is granted without it`, REMOVE);
  });
}

function patterns(list: readonly string[], path: readonly string[], find: Find): void {
  if (list.length > MAX_COMPARED) return;
  const { within } = patternPairs();
  list.forEach((pattern, at) => {
    const by = list.find(
      (other, index) => index !== at && within(pattern, other) && (index < at || !within(other, pattern)),
    );
    if (by !== undefined) find('shadowed-rule', [...path, at], `${by} covers it`, REMOVE);
  });
}

function peers(rules: readonly object[], direction: 'egress' | 'ingress', find: Find): void {
  if (rules.length > MAX_COMPARED) return;
  const read = rules.map((rule) => readPeers(rule, direction === 'egress' ? 'to' : 'from', [], silent));
  const within = (inner: readonly NetworkRule[], outer: readonly NetworkRule[]): boolean =>
    networkExcess(outer, inner) === undefined;
  read.forEach((rule, at) => {
    const others = read.filter((other, index) => index !== at && (index < at || !within(other, rule)));
    if (others.length > 0 && within(rule, others.flat()))
      find('shadowed-rule', ['network', direction, at], 'other rules of the list cover it', REMOVE);
  });
}
