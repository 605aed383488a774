import { readAutomaton } from './automaton.ts';
import type { KernelAutomaton } from './automaton.ts';
import { malformed } from './malformed.ts';

/**
 * A profile in the form in which `apparmor_parser` passes it to the kernel
 * (security/apparmor/policy_unpack.c).
 */
export interface CompiledProfile {
  readonly name: string;
  /** `enforce`: what is not granted is denied. Any other mode denies nothing. */
  readonly mode: 'enforce' | 'complain' | 'kill' | 'unconfined';
  /** Whether paths outside the process's root count as paths below it. */
  readonly attachDisconnected: boolean;
  /** A bit mask by capability number. */
  readonly capabilities: bigint;
  /**
   * Allowed socket types by family, from before the rules on sockets became part of `policy`. Undefined if
   * they are part of it.
   */
  readonly families: readonly number[] | undefined;
  /** Limits by resource number. */
  readonly limits: ReadonlyMap<number, bigint>;
  /** Everything but files: mounts, signals, tracing, sockets. */
  readonly policy: KernelAutomaton | undefined;
  readonly files: KernelAutomaton | undefined;
  /** Profiles to which an exec may change, by index. */
  readonly targets: readonly string[];
}

/**
 * A value of the format: numbers, texts, bytes, and structures, lists and arrays of named or unnamed items.
 */
type Value = { readonly name: string; readonly value: number | bigint | string | Buffer | readonly Value[] };

const CODES = {
  u8: 0,
  u16: 1,
  u32: 2,
  u64: 3,
  name: 4,
  string: 5,
  blob: 6,
  struct: 7,
  list: 9,
  array: 11,
} as const;
const ENDS: ReadonlySet<number> = new Set([8, 10, 12]);
const MAX_DEPTH = 16;

/** Reads every profile of the policy, in order. @throws ENTITLEMENTS_BAD_PROFILE */
export function readCompiledPolicy(bytes: Buffer): CompiledProfile[] {
  try {
    const [items] = readItems(bytes, 0, 0);
    return items.flatMap(({ name, value }) =>
      name === 'profile' && Array.isArray(value) ? [profileOf(value as readonly Value[])] : [],
    );
  } catch (error) {
    if (error instanceof RangeError) throw malformed('fewer bytes than it declares');
    throw error;
  }
}

/** Reads items up to the end of their container. */
function readItems(bytes: Buffer, from: number, depth: number): [readonly Value[], number] {
  if (depth > MAX_DEPTH) throw malformed('structures that are nested too deeply');
  const items: Value[] = [];
  let at = from;
  let name = '';
  while (at < bytes.length) {
    const code = bytes.readUInt8(at++);
    if (ENDS.has(code)) return [items, at];
    let value: Value['value'];
    switch (code) {
      case CODES.name: {
        const length = bytes.readUInt16LE(at);
        name = text(bytes, at + 2, length);
        at += 2 + length;
        continue;
      }
      case CODES.u8:
        value = bytes.readUInt8(at);
        at += 1;
        break;
      case CODES.u16:
        value = bytes.readUInt16LE(at);
        at += 2;
        break;
      case CODES.u32:
        value = bytes.readUInt32LE(at);
        at += 4;
        break;
      case CODES.u64:
        value = bytes.readBigUInt64LE(at);
        at += 8;
        break;
      case CODES.string: {
        const length = bytes.readUInt16LE(at);
        value = text(bytes, at + 2, length);
        at += 2 + length;
        break;
      }
      case CODES.blob: {
        const length = bytes.readUInt32LE(at);
        at += 4;
        if (at + length > bytes.length) throw malformed('fewer bytes than it declares');
        value = bytes.subarray(at, at + length);
        at += length;
        break;
      }
      case CODES.array:
        at += 2;
        [value, at] = readItems(bytes, at, depth + 1);
        break;
      case CODES.struct:
      case CODES.list:
        [value, at] = readItems(bytes, at, depth + 1);
        break;
      default:
        throw malformed(`an item of the unknown kind ${code}`);
    }
    items.push({ name, value });
    name = '';
  }
  return [items, at];
}

/** Reads a text without its closing NUL. */
function text(bytes: Buffer, at: number, length: number): string {
  return bytes.toString('utf8', at, at + length).replace(/\0$/, '');
}

const MODES = ['enforce', 'complain', 'kill', 'unconfined'] as const;
const ATTACH_DISCONNECTED = 4;

function profileOf(items: readonly Value[]): CompiledProfile {
  const named = (name: string): Value['value'] | undefined => items.find((item) => item.name === name)?.value;
  const listed = (value: Value['value'] | undefined): readonly Value[] =>
    Array.isArray(value) ? (value as readonly Value[]) : [];
  const [first] = items;
  const flags = listed(named('flags')).map(({ value }) => Number(value));
  // After the flags: allowed, audited, quieted and unused capabilities, 32 bits each. `caps64` has the upper
  // halves.
  const words = items
    .filter(({ name, value }) => name === '' && typeof value === 'number')
    .map(({ value }) => Number(value));
  const [upper] = listed(named('caps64'));
  const [mask, bounds] = listed(named('rlimits'));
  const limitMask = Number(mask?.value ?? 0);
  const tables = listed(named('xtable')).flatMap(({ value }) => listed(value));
  const policy = listed(named('policydb')).find(({ name }) => name === 'aadfa')?.value;
  const files = named('aadfa');
  const families = named('net_allowed_af');
  return {
    name: typeof first?.value === 'string' ? first.value : '',
    mode: MODES[flags[1] ?? 0] ?? 'unconfined',
    attachDisconnected: (Number(named('path_flags') ?? 0) & ATTACH_DISCONNECTED) !== 0,
    capabilities: BigInt(words[0] ?? 0) | (BigInt(Number(upper?.value ?? 0)) << 32n),
    // Three per family: allowed, audited, quieted.
    families:
      families === undefined
        ? undefined
        : listed(families).flatMap(({ value }, at) => (at % 3 === 0 ? [Number(value)] : [])),
    limits: new Map(
      listed(bounds?.value).flatMap(({ value }, resource) =>
        (limitMask & (1 << resource)) === 0 || typeof value !== 'bigint' ? [] : [[resource, value] as const],
      ),
    ),
    policy: Buffer.isBuffer(policy) ? readAutomaton(policy) : undefined,
    files: Buffer.isBuffer(files) ? readAutomaton(files) : undefined,
    targets: tables.map(({ value }) => (typeof value === 'string' ? value : '')),
  };
}
