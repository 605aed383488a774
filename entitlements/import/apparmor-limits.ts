import type { Limit, LimitName } from '../profile/model.ts';
import { RLIM_INFINITY } from '../profile/values.ts';

/** Names of apparmor.d(5), "rlimit rules", whose values are plain numbers, or bytes with a unit. */
const COUNTS: readonly LimitName[] = ['LOCKS', 'NOFILE', 'NPROC', 'RTPRIO', 'SIGPENDING'];
const BYTES: readonly LimitName[] = ['AS', 'CORE', 'DATA', 'FSIZE', 'MEMLOCK', 'MSGQUEUE', 'RSS', 'STACK'];
const UNITS: Readonly<Record<string, bigint>> = {
  '': 1n,
  K: 1n << 10n,
  KB: 1n << 10n,
  M: 1n << 20n,
  MB: 1n << 20n,
  G: 1n << 30n,
  GB: 1n << 30n,
};

/**
 * Parses `set rlimit NAME <= VALUE`. Returns undefined if a profile cannot express it exactly. `unlimited`
 * sets no limit.
 */
export function readLimit(rest: string): readonly [LimitName, Limit] | 'unlimited' | undefined {
  const [, word = '', digits, unit = '', endless] =
    /^(?:set\s+)?rlimit\s+(\w+)\s*<=\s*(?:(\d+)\s*(\w*)|(infinity))$/.exec(rest) ?? [];
  const name = [...COUNTS, ...BYTES].find((one) => one === word.toUpperCase());
  if (endless !== undefined) return 'unlimited';
  if (name === undefined || digits === undefined || digits.length > 18) return undefined;
  const factor = UNITS[unit.toUpperCase()];
  if (factor === undefined || (unit !== '' && !BYTES.includes(name))) return undefined;
  const value = BigInt(digits) * factor;
  if (value > RLIM_INFINITY) return undefined;
  return [name, { soft: value, hard: value }];
}
