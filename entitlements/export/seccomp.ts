import { entitlementsError } from '../errors.ts';
import type { Profile } from '../profile/model.ts';
import type { Remark } from '../import/imported.ts';
import { compatDecision, compatNumbers } from '../seccomp/compat.ts';
import { MULTIPLEXED } from '../seccomp/compat-calls.ts';
import { exceeds, isConstant } from '../seccomp/decision.ts';
import { exportOci } from '../seccomp/oci-export.ts';
import { decisionFor, filteredPolicy } from '../seccomp/policy.ts';
import type { CompatArchitecture, FilteredPolicy } from '../seccomp/policy.ts';
import { syscallNumbers } from '../seccomp/syscalls.ts';
import type { Architecture, OciSeccomp } from '../types.ts';

const SCMP_ARCHITECTURE: Readonly<Record<CompatArchitecture, string>> = {
  arm: 'SCMP_ARCH_ARM',
  x32: 'SCMP_ARCH_X32',
  x86: 'SCMP_ARCH_X86',
};
const COMPAT_OF: Readonly<Record<Architecture, readonly CompatArchitecture[]>> = {
  x86_64: ['x86', 'x32'],
  aarch64: ['arm'],
};

/**
 * Exports the profile's filter as an OCI seccomp object, which docker, containerd and CRI-O accept unchanged.
 * Conditions are masks over the bits that the kernel reads, so no engine can compare more or fewer bits.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function exportSeccomp(profile: Profile, architecture: Architecture): OciSeccomp {
  const { syscalls } = profile;
  if (!syscalls.filtered) return { defaultAction: 'SCMP_ACT_ALLOW', architectures: [], syscalls: [] };
  const native = exportOci(syscalls, architecture);
  const compat = COMPAT_OF[architecture].filter((name) => syscalls.compat.includes(name));
  return {
    ...native,
    architectures: [...native.architectures, ...compat.map((name) => SCMP_ARCHITECTURE[name])],
    syscalls: [...native.syscalls, ...foreignRules(syscalls, architecture, compat)],
  };
}

/** Returns rules for calls that only programs of other architectures have, such as `socketcall`. */
function foreignRules(
  policy: FilteredPolicy,
  architecture: Architecture,
  compat: readonly CompatArchitecture[],
): OciSeccomp['syscalls'] {
  const numbers = syscallNumbers(architecture);
  // Names that no program of these architectures has are kept too: they have no effect there.
  const foreign = [...policy.rules].filter(([name]) => !numbers.has(name));
  const conditional = foreign.find(([, of]) => of.pieces.length > 0);
  if (conditional !== undefined && compat.length > 0) throw unsaid(conditional[0]);
  // Each uses a name that this machine has: the exporter does not know the numbers of the others.
  const byOutcome = new Map(foreign.map(([, of]) => [of.otherwise, [] as string[]] as const));
  for (const [name, of] of foreign) if (of.pieces.length === 0) byOutcome.get(of.otherwise)?.push(name);
  return [...byOutcome].flatMap(([outcome, names]) =>
    exportOci(
      filteredPolicy(policy.fallback, [['read', { otherwise: outcome, pieces: [] }]]),
      architecture,
    ).syscalls.map((rule) => ({
      ...rule,
      names,
    })),
  );
}

/**
 * Returns a remark for each architecture whose programs get more from the exported object than from the
 * profile: libseccomp, with which other engines compile it, compares the native argument, and lets socketcall
 * and ipc through for a call with conditions (src/arch-x86.c).
 */
export function looserCalls({ syscalls }: Profile, architecture: Architecture): Remark[] {
  if (!syscalls.filtered) return [];
  return COMPAT_OF[architecture].flatMap((name) => {
    if (!syscalls.compat.includes(name)) return [];
    const isLooser = (call: string): boolean => {
      const behind = name === 'x86' ? (MULTIPLEXED[call] ?? []) : [];
      return (
        behind.some((one) => !isConstant(decisionFor(syscalls, one))) ||
        (!isConstant(decisionFor(syscalls, call)) &&
          exceeds(compatDecision(syscalls, name, call), decisionFor(syscalls, call)) !== undefined)
      );
    };
    const calls = [...compatNumbers(name).keys()].filter(isLooser).sort();
    if (calls.length === 0) return [];
    const why = `other engines let ${name} programs make calls of ${calls.join(', ')} that the profile refuses`;
    return [{ part: 'syscalls.architectures', why: `${why}: remove ${name}, or the conditions` }];
  });
}

function unsaid(name: string): Error {
  return entitlementsError('ENTITLEMENTS_UNSUPPORTED', {
    kind: 'unimplemented',
    attempted: 'export seccomp profile',
    on: name,
    why: 'the widths of its arguments are not known, so conditions on them cannot be written for other engines',
    fix: 'remove the conditions, or the architectures that have the call',
  });
}

/** Returns the JSON text of the object, with exact 64-bit numbers. Ends with a newline. */
export function seccompText(oci: OciSeccomp): string {
  const raw = (JSON as unknown as { readonly rawJSON: (text: string) => unknown }).rawJSON;
  return `${JSON.stringify(oci, (_key, value: unknown) => (typeof value === 'bigint' ? raw(value.toString()) : value), 2)}\n`;
}
