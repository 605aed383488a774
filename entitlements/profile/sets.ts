import type { NetworkClass } from '../types.ts';
import type { Limit, LimitName, Profile, ResourceName } from './model.ts';

/** Network classes, from the one that grants least to the one that grants most. */
export const NETWORK_CLASSES: readonly NetworkClass[] = ['none', 'user', 'proxy', 'admin', 'host'];

export function networkRank(name: NetworkClass): number {
  return NETWORK_CLASSES.indexOf(name);
}

export function common<T extends string>(a: readonly T[], b: readonly T[]): T[] {
  const other = new Set(b);
  return [...new Set(a)].filter((item) => other.has(item)).sort();
}

export function either<T extends string>(a: readonly T[], b: readonly T[]): T[] {
  return [...new Set([...a, ...b])].sort();
}

/** Returns the first item of `inner` that `outer` lacks. */
export function lacking<T extends string>(outer: readonly T[], inner: readonly T[]): T | undefined {
  const held = new Set(outer);
  return inner.find((item) => !held.has(item));
}

export const LIMIT_NAMES: readonly LimitName[] = [
  'AS',
  'CORE',
  'CPU',
  'DATA',
  'FSIZE',
  'LOCKS',
  'MEMLOCK',
  'MSGQUEUE',
  'NICE',
  'NOFILE',
  'NPROC',
  'RSS',
  'RTPRIO',
  'RTTIME',
  'SIGPENDING',
  'STACK',
];

export const RESOURCE_NAMES: readonly ResourceName[] = ['cpu', 'memory', 'pids', 'swap'];

type Limits = Profile['limits'];

/** Returns the lower of both limits. */
export function meetLimits(a: Limits, b: Limits): Limits {
  return collect((name) => {
    const [x, y] = [a[name], b[name]];
    if (x === undefined || y === undefined) return x ?? y;
    return { soft: least(x.soft, y.soft), hard: least(x.hard, y.hard) };
  });
}

/** Returns the higher of both limits; unlimited if one is. */
export function joinLimits(a: Limits, b: Limits): Limits {
  return collect((name) => {
    const [x, y] = [a[name], b[name]];
    return x === undefined || y === undefined
      ? undefined
      : { soft: most(x.soft, y.soft), hard: most(x.hard, y.hard) };
  });
}

/** Returns a limit that is higher in `inner` than in `outer`, or unlimited in `inner` only. */
export function limitExcess(outer: Limits, inner: Limits): LimitName | undefined {
  return LIMIT_NAMES.find((name) => {
    const [bound, own] = [outer[name], inner[name]];
    return bound !== undefined && (own === undefined || own.soft > bound.soft || own.hard > bound.hard);
  });
}

type Resources = Profile['resources'];

/** Returns the lower of both limits. */
export function meetResources(a: Resources, b: Resources): Resources {
  return collectResources((name) => {
    const [x, y] = [a[name], b[name]];
    return x === undefined || y === undefined ? (x ?? y) : least(x, y);
  });
}

/** Returns the higher of both limits; unlimited if one is. */
export function joinResources(a: Resources, b: Resources): Resources {
  return collectResources((name) => {
    const [x, y] = [a[name], b[name]];
    return x === undefined || y === undefined ? undefined : most(x, y);
  });
}

/** Returns a limit that is higher in `inner` than in `outer`, or unlimited in `inner` only. */
export function resourceExcess(outer: Resources, inner: Resources): ResourceName | undefined {
  return RESOURCE_NAMES.find((name) => {
    const [bound, own] = [outer[name], inner[name]];
    return bound !== undefined && (own === undefined || own > bound);
  });
}

function collectResources(of: (name: ResourceName) => bigint | undefined): Resources {
  const found: Partial<Record<ResourceName, bigint>> = {};
  for (const name of RESOURCE_NAMES) {
    const bound = of(name);
    if (bound !== undefined) found[name] = bound;
  }
  return found;
}

function collect(of: (name: LimitName) => Limit | undefined): Limits {
  const found: Partial<Record<LimitName, Limit>> = {};
  for (const name of LIMIT_NAMES) {
    const limit = of(name);
    if (limit !== undefined) found[name] = limit;
  }
  return found;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function most(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
