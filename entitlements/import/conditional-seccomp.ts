import { capabilityName } from '../capabilities/capability-names.ts';
import { entitlementsError } from '../errors.ts';
import type { Architecture, Capability } from '../types.ts';
import { unknownField, unknownFieldText } from './known-fields.ts';

/** The values on which the conditions of a seccomp source depend. */
export interface SeccompTarget {
  readonly architecture: Architecture;
  /** The container's capabilities. */
  readonly capabilities: readonly Capability[];
  /** `major.minor`; undefined: newer than any version in a condition. */
  readonly kernel?: string;
}

/**
 * The fields of docker, containerd, CRI-O and the OCI specification, and those that editors add. A skipped
 * field may be a condition.
 */
const TOP = [
  ...['$schema', 'archMap', 'architectures', 'defaultAction', 'defaultErrno', 'defaultErrnoRet', 'flags'],
  ...['listenerMetadata', 'listenerPath', 'syscalls'],
];
const RULE = ['action', 'args', 'comment', 'errno', 'errnoRet', 'excludes', 'includes', 'name', 'names'];
const ARGUMENT = ['index', 'op', 'value', 'valueTwo'];

/** Go's names of the architectures, which the conditions use. */
const GO_ARCHITECTURE: Readonly<Record<Architecture, string>> = { x86_64: 'amd64', aarch64: 'arm64' };
const SCMP_ARCHITECTURE: Readonly<Record<Architecture, string>> = {
  x86_64: 'SCMP_ARCH_X86_64',
  aarch64: 'SCMP_ARCH_AARCH64',
};

/** An object whose members are not validated yet. */
export type Fields = Readonly<Record<string, unknown>>;

/** A plain OCI object, and the position of each of its rules in the source. */
interface Resolved {
  readonly plain: Fields;
  readonly places: readonly number[];
}

/**
 * Converts a seccomp source of docker or CRI-O, whose rules may depend on architecture, kernel and
 * capabilities (`includes`, `excludes`, `archMap`), to the plain OCI object that these engines create for one
 * container (github.com/moby/profiles, seccomp/seccomp_linux.go; github.com/containers/common, pkg/seccomp).
 * A plain OCI object stays unchanged.
 * @throws ENTITLEMENTS_BAD_SECCOMP
 */
export function resolveConditions(json: unknown, target: SeccompTarget): Resolved {
  const top = known(fields(json, ''), TOP, '');
  const syscalls = list(top['syscalls'], 'syscalls');
  const { archMap, syscalls: _rules, ...rest } = top;
  const mapped = archMap === undefined || archMap === null ? undefined : list(archMap, 'archMap');
  const plain = top['architectures'];
  if (mapped !== undefined && mapped.length > 0 && Array.isArray(plain) && plain.length > 0) {
    throw badSeccomp('archMap', 'it is given together with architectures: only one of the two is allowed');
  }
  const kept = syscalls.flatMap((item, at) => {
    const path = `syscalls[${at}]`;
    const rule = known(fields(item, path), RULE, path);
    list(rule['args'], `${path}.args`).forEach((arg, index) =>
      known(fields(arg, `${path}.args[${index}]`), ARGUMENT, `${path}.args[${index}]`),
    );
    if (!applies(rule, path, target)) return [];
    const { includes: _includes, excludes: _excludes, comment: _comment, name, ...plainRule } = rule;
    if (name === undefined || name === null || name === '') return [{ at, rule: plainRule }];
    if (list(rule['names'], `${path}.names`).length > 0)
      throw badSeccomp(`${path}.name`, 'it is given together with names: only one of the two is allowed');
    return [{ at, rule: { ...plainRule, names: [name] } }];
  });
  return {
    plain: {
      ...rest,
      ...(mapped === undefined ? {} : { architectures: architecturesOf(mapped, target) }),
      syscalls: kept.map(({ rule }) => rule),
    },
    places: kept.map(({ at }) => at),
  };
}

function architecturesOf(mapped: readonly unknown[], target: SeccompTarget): unknown[] {
  const native = SCMP_ARCHITECTURE[target.architecture];
  return mapped.flatMap((item, at) => {
    const entry = fields(item, `archMap[${at}]`);
    return entry['architecture'] === native
      ? [native, ...list(entry['subArchitectures'], `archMap[${at}].subArchitectures`)]
      : [];
  });
}

function applies(rule: Fields, path: string, target: SeccompTarget): boolean {
  const excludes = condition(rule['excludes'], `${path}.excludes`);
  const includes = condition(rule['includes'], `${path}.includes`);
  const arch = GO_ARCHITECTURE[target.architecture];
  const held = (name: Capability): boolean => target.capabilities.includes(name);
  if (excludes.arches.includes(arch) || excludes.caps.some(held)) return false;
  if (excludes.minKernel !== undefined && atLeast(target.kernel, excludes.minKernel)) return false;
  if (includes.arches.length > 0 && !includes.arches.includes(arch)) return false;
  return (
    includes.caps.every(held) &&
    (includes.minKernel === undefined || atLeast(target.kernel, includes.minKernel))
  );
}

interface Condition {
  readonly arches: readonly string[];
  readonly caps: readonly Capability[];
  readonly minKernel?: readonly [number, number];
}

function condition(value: unknown, path: string): Condition {
  if (value === undefined || value === null) return { arches: [], caps: [] };
  const found = fields(value, path);
  const unknown = Object.keys(found).find((key) => !['arches', 'caps', 'minKernel'].includes(key));
  if (unknown !== undefined)
    throw badSeccomp(
      `${path}.${unknown}`,
      'it is an unknown condition, so it is also unknown whether the rule applies',
    );
  const caps = list(found['caps'], `${path}.caps`).map((item, at) => {
    const name = capabilityName(text(item, `${path}.caps[${at}]`));
    if (name === undefined) throw badSeccomp(`${path}.caps[${at}]`, 'there is no such capability');
    return name;
  });
  const arches = list(found['arches'], `${path}.arches`).map((item, at) =>
    text(item, `${path}.arches[${at}]`),
  );
  const minKernel = found['minKernel'];
  if (minKernel === undefined || minKernel === null || minKernel === '') return { arches, caps };
  return { arches, caps, minKernel: version(text(minKernel, `${path}.minKernel`), `${path}.minKernel`) };
}

function atLeast(kernel: string | undefined, wanted: readonly [number, number]): boolean {
  if (kernel === undefined) return true;
  const [major, minor] = version(kernel, 'kernel');
  return major > wanted[0] || (major === wanted[0] && minor >= wanted[1]);
}

function version(written: string, path: string): readonly [number, number] {
  const found = /^(\d{1,4})\.(\d{1,4})/.exec(written);
  if (found === null) throw badSeccomp(path, 'a kernel version is written as 4.8');
  return [Number(found[1]), Number(found[2])];
}

function known(value: Fields, names: readonly string[], path: string): Fields {
  const unknown = unknownField(value, names);
  if (unknown !== undefined)
    throw badSeccomp(path === '' ? unknown.key : `${path}.${unknown.key}`, unknownFieldText(unknown));
  return value;
}

function fields(value: unknown, path: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw badSeccomp(path, 'it is not an object');
  return value as Fields;
}

function list(value: unknown, path: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw badSeccomp(path, 'it is not a list');
  return value;
}

function text(value: unknown, path: string): string {
  if (typeof value !== 'string') throw badSeccomp(path, 'it is not a text');
  return value;
}

/** The error for a seccomp profile that is not valid at `path`. */
export function badSeccomp(
  path: string,
  why: string,
  fix = 'write it as docker and the OCI runtime specification describe (config-linux.md, Seccomp)',
): Error {
  return entitlementsError('ENTITLEMENTS_BAD_SECCOMP', {
    kind: 'invalid',
    attempted: 'read seccomp profile',
    on: path,
    why,
    fix,
  });
}
