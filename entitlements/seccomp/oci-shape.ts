import { keyFlaw, parseJson } from '../../base/json/index.ts';
import { entitlementsError } from '../errors.ts';

const OPERATORS = [
  'SCMP_CMP_EQ',
  'SCMP_CMP_NE',
  'SCMP_CMP_LT',
  'SCMP_CMP_LE',
  'SCMP_CMP_GE',
  'SCMP_CMP_GT',
  'SCMP_CMP_MASKED_EQ',
] as const;

export interface OciArgument {
  readonly index: number;
  readonly value: bigint;
  readonly valueTwo: bigint;
  readonly op: (typeof OPERATORS)[number];
}

export interface OciRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args: readonly OciArgument[];
}

export interface OciShape {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly syscalls: readonly OciRule[];
}

/** The fields of the format that change what is allowed. */
const FIELDS = [
  'defaultAction',
  'defaultErrnoRet',
  'architectures',
  'archMap',
  'flags',
  'listenerPath',
  'listenerMetadata',
  'syscalls',
  'names',
  'action',
  'errnoRet',
  'args',
  'index',
  'value',
  'valueTwo',
  'op',
  'includes',
  'excludes',
];
const MAX_RULES = 4096;
const MAX_NAMES = 16384;
const MAX_CONDITIONAL = 1024;

/**
 * Parses a seccomp JSON text without losing precision of 64-bit integers. Refuses keys that readers
 * understand differently: of a key that occurs twice, some take the first and some the last, and Go reads
 * `Syscalls` as `syscalls`.
 * @throws ENTITLEMENTS_BAD_SECCOMP
 */
export function parseSeccompJson(text: string): unknown {
  let json: unknown;
  try {
    json = parseJson(text, (_key, value: unknown, context?: { source?: string }) => {
      if (typeof value !== 'number' || Number.isSafeInteger(value) || context?.source === undefined)
        return value;
      return /^\d+$/.test(context.source) ? BigInt(context.source) : value;
    });
  } catch (error) {
    throw bad('', error instanceof Error ? error.message : 'it is not JSON');
  }
  const flaw = keyFlaw(text, { fields: FIELDS, maps: [] });
  if (flaw !== undefined) throw bad('', flaw);
  return json;
}

/**
 * Checks the types and the size of the seccomp section of an OCI runtime specification. The names of actions
 * and operators are not checked yet.
 * @throws ENTITLEMENTS_BAD_SECCOMP
 */
export function readOciSeccomp(json: unknown): OciShape {
  const top = record(json, '');
  const syscalls = list(top['syscalls'], 'syscalls').map((item, at) => readRule(item, `syscalls[${at}]`));
  const names = syscalls.reduce((sum, rule) => sum + rule.names.length, 0);
  const conditional = syscalls.reduce(
    (sum, rule) => sum + (rule.args.length === 0 ? 0 : rule.names.length),
    0,
  );
  if (syscalls.length > MAX_RULES || names > MAX_NAMES || conditional > MAX_CONDITIONAL) {
    throw bad(
      'syscalls',
      `more than ${MAX_RULES} rules, ${MAX_NAMES} names or ${MAX_CONDITIONAL} names with conditions`,
    );
  }
  return {
    defaultAction: text(top['defaultAction'], 'defaultAction'),
    ...optional('defaultErrnoRet', top['defaultErrnoRet'], 'defaultErrnoRet'),
    syscalls,
  };
}

function readRule(item: unknown, path: string): OciRule {
  const rule = record(item, path);
  // Docker's and containerd's source format has conditions on architecture, kernel and capabilities that OCI
  // does not have.
  for (const key of ['includes', 'excludes']) {
    const condition = rule[key];
    if (
      condition !== undefined &&
      condition !== null &&
      Object.keys(record(condition, `${path}.${key}`)).length > 0
    ) {
      throw bad(`${path}.${key}`, 'conditional rules are not part of OCI seccomp');
    }
  }
  const names = list(rule['names'], `${path}.names`).map((name, at) =>
    callName(name, `${path}.names[${at}]`),
  );
  if (names.length === 0) throw bad(`${path}.names`, 'it is empty');
  return {
    names,
    action: text(rule['action'], `${path}.action`),
    ...optional('errnoRet', rule['errnoRet'], `${path}.errnoRet`),
    args: list(rule['args'], `${path}.args`).map((arg, at) => readArgument(arg, `${path}.args[${at}]`)),
  };
}

function readArgument(item: unknown, path: string): OciArgument {
  const arg = record(item, path);
  const index = Number(unsigned(arg['index'], `${path}.index`));
  if (index > 5) throw bad(`${path}.index`, 'a system call has the arguments 0 to 5');
  const wanted = text(arg['op'], `${path}.op`);
  const op = OPERATORS.find((known) => known === wanted);
  if (op === undefined) throw bad(`${path}.op`, `${wanted} is not an operator`);
  return {
    index,
    op,
    value: unsigned(arg['value'] ?? 0, `${path}.value`),
    valueTwo: unsigned(arg['valueTwo'] ?? 0, `${path}.valueTwo`),
  };
}

function optional<K extends string>(key: K, value: unknown, path: string): Partial<Record<K, number>> {
  if (value === undefined || value === null) return {};
  return { [key]: Number(unsigned(value, path)) } as Record<K, number>;
}

function unsigned(value: unknown, path: string): bigint {
  if (typeof value === 'bigint' && value >= 0n && value < 1n << 64n) return value;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  throw bad(path, 'it is not an unsigned 64-bit integer (or lost digits when it was parsed)');
}

function record(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(path, 'it is not an object');
  return value as Readonly<Record<string, unknown>>;
}

function list(value: unknown, path: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw bad(path, 'it is not a list');
  return value;
}

function text(value: unknown, path: string): string {
  if (typeof value !== 'string' || value === '') throw bad(path, 'it is not a text');
  return value;
}

/** Returns a name that may be unknown here, like one of another architecture. */
function callName(value: unknown, path: string): string {
  const name = text(value, path);
  if (!/^[A-Za-z0-9_]{1,64}$/.test(name)) throw bad(path, 'it is not a name of a system call');
  return name;
}

function bad(path: string, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_SECCOMP', {
    kind: 'invalid',
    attempted: 'read seccomp profile',
    on: path,
    why,
    fix: 'write it as the OCI runtime specification describes (config-linux.md, Seccomp)',
  });
}
