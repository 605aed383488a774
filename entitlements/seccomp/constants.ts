import { maxOf } from './argument-test.ts';
import { argumentWidth } from './syscalls.ts';
import table from './tables/constants.json' with { type: 'json' };

const GROUPS: ReadonlyMap<string, ReadonlyMap<string, bigint>> = new Map(
  Object.entries(table.groups).map(([group, values]) => [
    group,
    new Map(Object.entries(values).map(([name, value]) => [name, BigInt(value)])),
  ]),
);
const FLAGS: ReadonlySet<string> = new Set(table.flags);
const ARGUMENTS: ReadonlyMap<string, Readonly<Record<string, readonly string[]>>> = new Map(
  Object.entries(table.arguments),
);

function groupsOf(call: string, index: number): readonly string[] {
  return ARGUMENTS.get(call)?.[String(index)] ?? [];
}

/**
 * Returns the names that the kernel's headers have for values of an argument. If several names have one
 * value, the usual name comes first: AF_INET for socket's first argument.
 */
export function constantsOf(call: string, index: number): ReadonlyMap<string, bigint> {
  return new Map(groupsOf(call, index).flatMap((group) => [...(GROUPS.get(group) ?? [])]));
}

/**
 * Returns the value of a name, or of names joined by `|`, for an argument; undefined if one is unknown there.
 */
export function constantValue(call: string, index: number, text: string): bigint | undefined {
  const known = constantsOf(call, index);
  const values = text.split('|').map((name) => known.get(name.trim()));
  return values.reduce(
    (sum, value) => (sum === undefined || value === undefined ? undefined : sum | value),
    0n,
  );
}

/**
 * Returns the name of an argument's value, such as `AF_ALG` and `CLONE_NEWUSER|CLONE_NEWNET`; undefined if
 * there is none. Ignores bits that the kernel does not read.
 */
export function constantName(call: string, index: number, value: bigint): string | undefined {
  const read = value & maxOf(argumentWidth(call, index));
  const groups = groupsOf(call, index);
  for (const group of groups)
    for (const [name, constant] of GROUPS.get(group) ?? []) if (constant === read) return name;
  for (const group of groups.filter((name) => FLAGS.has(name))) {
    const names = flagNames(group, read);
    if (names !== undefined) return names.join('|');
  }
  return undefined;
}

/** Returns the flags of one group that make up the value. */
function flagNames(group: string, value: bigint): string[] | undefined {
  const names: string[] = [];
  let left = value;
  const usual = [
    ...new Map([...(GROUPS.get(group) ?? [])].toReversed().map(([name, constant]) => [constant, name])),
  ];
  for (const [constant, name] of usual.sort(([a], [b]) => (a < b ? 1 : -1))) {
    if (constant === 0n || (left & constant) !== constant) continue;
    names.unshift(name);
    left &= ~constant;
  }
  return left === 0n && names.length > 0 ? names : undefined;
}
