import type { NetworkClass } from '../types.ts';
import type { Limit, LimitName, Profile } from '../profile/model.ts';

/** Network classes from granting least to most. */
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

/** The first of `inner` that `outer` lacks. */
export function lacking<T extends string>(outer: readonly T[], inner: readonly T[]): T | undefined {
  const held = new Set(outer);
  return inner.find((item) => !held.has(item));
}

export const LIMIT_NAMES: readonly LimitName[] = ['CORE', 'MEMLOCK', 'NOFILE', 'NPROC'];

type Limits = Profile['limits'];

/** The lower of both bounds. */
export function meetLimits(a: Limits, b: Limits): Limits {
  return collect((name) => {
    const [x, y] = [a[name], b[name]];
    if (x === undefined || y === undefined) return x ?? y;
    return { soft: least(x.soft, y.soft), hard: least(x.hard, y.hard) };
  });
}

/** The higher of both bounds; unbounded when one is. */
export function joinLimits(a: Limits, b: Limits): Limits {
  return collect((name) => {
    const [x, y] = [a[name], b[name]];
    return x === undefined || y === undefined ? undefined : { soft: most(x.soft, y.soft), hard: most(x.hard, y.hard) };
  });
}

/** A limit that `inner` has higher than `outer`, or not at all. */
export function limitExcess(outer: Limits, inner: Limits): LimitName | undefined {
  return LIMIT_NAMES.find((name) => {
    const [bound, own] = [outer[name], inner[name]];
    return bound !== undefined && (own === undefined || own.soft > bound.soft || own.hard > bound.hard);
  });
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
