import { constants } from 'node:os';
import { append } from '../../base/lists/index.ts';
import { defaultProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { always, exceeds } from '../seccomp/decision.ts';
import type { Decision } from '../seccomp/decision.ts';
import { policyFromOci } from '../seccomp/oci-import.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import type { CompatArchitecture, FilteredPolicy } from '../seccomp/policy.ts';
import { argumentWidth, isSyscallName } from '../seccomp/syscalls.ts';
import { sortedCapabilities } from '../capabilities/capability-names.ts';
import { badSeccomp, resolveConditions } from './conditional-seccomp.ts';
import type { Fields, SeccompTarget } from './conditional-seccomp.ts';
import type { Imported, Remark } from './imported.ts';

/**
 * SCMP_ARCH_* whose programs run in addition to native ones. Other architectures do not run on the machine,
 * and have no effect.
 */
const COMPAT: ReadonlyMap<unknown, CompatArchitecture> = new Map([
  ['SCMP_ARCH_X86', 'x86'],
  ['SCMP_ARCH_X32', 'x32'],
  ['SCMP_ARCH_ARM', 'arm'],
]);

/** SCMP_ARCH_* of the OCI specification (config-linux.md, Seccomp). */
const ARCHITECTURES: ReadonlySet<unknown> = new Set(
  (
    'X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 ' +
    'S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB'
  )
    .split(' ')
    .map((name) => `SCMP_ARCH_${name}`),
);

/** SECCOMP_FILTER_FLAG_* of the OCI specification. */
const FLAGS: ReadonlySet<unknown> = new Set(
  ['TSYNC', 'LOG', 'SPEC_ALLOW', 'WAIT_KILLABLE_RECV'].map((name) => `SECCOMP_FILTER_FLAG_${name}`),
);

/** Order comparisons. They are wrong for an int unless the high bits are ignored. */
const ORDERED: readonly unknown[] = [
  'SCMP_CMP_NE',
  'SCMP_CMP_LT',
  'SCMP_CMP_LE',
  'SCMP_CMP_GE',
  'SCMP_CMP_GT',
];

/**
 * Imports a seccomp JSON of docker, containerd, CRI-O or the OCI specification as the profile of a container
 * that is confined by it and by the default profile's other parts: the result of `--security-opt
 * seccomp=FILE`.
 *
 * Actions that need a supervisor (SCMP_ACT_NOTIFY, SCMP_ACT_TRACE) become ENOSYS, which is the kernel's
 * answer without a supervisor, and are listed.
 * @param json the result of `parseSeccompJson`
 * @throws ENTITLEMENTS_BAD_SECCOMP, ENTITLEMENTS_TOO_COMPLEX
 */
export function importSeccomp(json: unknown, target: SeccompTarget): Imported {
  const unmapped: Remark[] = [];
  const notes: Remark[] = [];
  const { plain: resolved, places } = resolveConditions(json, target);
  const plain = withoutSupervisor(resolved, places, unmapped);
  const read = policyFromOci(plain);
  const architectures = listOf(plain['architectures']);
  const compat = [...new Set(architectures.flatMap((name) => COMPAT.get(name) ?? []))];
  const syscalls = read.filtered ? filteredPolicy(read.fallback, known(read, compat), compat) : read;
  const named = (name: unknown): string => (typeof name === 'string' ? name.slice(0, 100) : 'not a text');
  for (const name of architectures)
    if (!ARCHITECTURES.has(name))
      notes.push({
        part: `architectures: ${named(name)}`,
        why: 'there is no such architecture, and runc refuses the file',
      });
  for (const flag of listOf(plain['flags']))
    if (flag !== 'SECCOMP_FILTER_FLAG_TSYNC')
      notes.push({
        part: `flags: ${named(flag)}`,
        why: FLAGS.has(flag)
          ? 'filters are loaded without flags: a flag adds logging or speed, and grants nothing'
          : 'there is no such flag, and runc refuses the file',
      });
  append(notes, narrowed(plain, places));
  const profile: Profile = {
    ...defaultProfile(),
    capabilities: sortedCapabilities(target.capabilities),
    syscalls,
  };
  return { profile, unmapped, notes };
}

/**
 * Removes grants of calls that the machine does not have, such as calls of RISC-V. Names of 32-bit calls
 * remain only where 32-bit programs run.
 */
function known(
  { fallback, rules }: FilteredPolicy,
  compat: readonly CompatArchitecture[],
): [string, Decision][] {
  if (compat.length > 0) return [...rules];
  return [...rules].filter(
    ([name, of]) => isSyscallName(name) || exceeds(always(fallback), of) === undefined,
  );
}

/** Removes what only a supervisor can answer. */
function withoutSupervisor(top: Fields, places: readonly number[], unmapped: Remark[]): Fields {
  const reported = (part: string, action: unknown): unknown => {
    if (action !== 'SCMP_ACT_NOTIFY' && action !== 'SCMP_ACT_TRACE') return action;
    unmapped.push({
      part,
      why: `${action} needs a supervisor outside the container; the call answers ENOSYS instead`,
    });
    return undefined;
  };
  const { defaultAction, listenerPath: _path, listenerMetadata: _metadata, syscalls, ...rest } = top;
  const fallback = reported('defaultAction', defaultAction);
  return {
    ...rest,
    ...(fallback === undefined && defaultAction !== undefined
      ? { defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: constants.errno.ENOSYS }
      : { ...withErrno(top, 'defaultErrno', 'defaultErrnoRet', 'defaultErrno'), defaultAction }),
    syscalls: listOf(syscalls).map((item, at) => {
      const rule = item as Fields;
      const action = reported(`syscalls[${places[at]}]`, rule['action']);
      if (action === undefined && rule['action'] !== undefined)
        return { ...rule, action: 'SCMP_ACT_ERRNO', errnoRet: constants.errno.ENOSYS };
      return { ...rule, ...withErrno(rule, 'errno', 'errnoRet', `syscalls[${places[at]}].errno`) };
    }),
  };
}

/**
 * In CRI-O's sources an errno also has a name, and the name takes precedence (containers/common, pkg/seccomp,
 * `getErrno`).
 */
function withErrno(rule: Fields, name: string, number: string, path: string): Fields {
  const written = rule[name];
  if (written === undefined || written === null || written === '') return {};
  const value = Object.entries(constants.errno).find(([known]) => known === written)?.[1];
  if (value === undefined)
    throw badSeccomp(path, `there is no error ${JSON.stringify(written)}`, 'use a name of errno(3)');
  return { [number]: value };
}

/** Lists conditions that the kernel reads in fewer bits than the filter compared. */
function narrowed(plain: Fields, places: readonly number[]): Remark[] {
  return listOf(plain['syscalls']).flatMap((item, at) => {
    const rule = item as Fields;
    if (rule['action'] !== 'SCMP_ACT_ALLOW' && rule['action'] !== 'SCMP_ACT_LOG') return [];
    return listOf(rule['args']).flatMap((arg) => {
      const { index, op } = arg as { readonly index: number; readonly op: string };
      const call = listOf(rule['names']).find(
        (name) => typeof name === 'string' && argumentWidth(name, index) < 64,
      );
      if (typeof call !== 'string' || !ORDERED.includes(op)) return [];
      const why = `${call} reads an int there: the condition holds for those bits alone, where 64 bits would let 0x100000026 pass for 0x26`;
      return [{ part: `syscalls[${places[at]}].args`, why }];
    });
  });
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
