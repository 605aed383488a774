import { syscallNumbers } from '../../entitlements/seccomp/syscalls.ts';
import type { Program } from './programs.ts';
import type { Denied } from './recorder.ts';

/**
 * Calls by libraries that expect a refusal, whatever the program. The C library tries clone3 first and falls
 * back to clone.
 */
const PROBED_EVERYWHERE: ReadonlyMap<string, number> = new Map([
  ['clone3', -38],
  // libnuma's numa_available() takes EPERM for "no NUMA"; docker's default denies it without SYS_NICE as
  // well.
  ['get_mempolicy', -1],
]);

export const names = new Map([...syscallNumbers('x86_64')].map(([name, nr]) => [nr, name]));

/** Returns the calls that a filter denied to a program, apart from those that it only probes. Pure. */
export function judge(program: Program, denied: readonly Denied[]): { denials: string[]; probes: string[] } {
  const [denials, probes] = [new Map<string, number>(), new Map<string, number>()];
  for (const { nr, answer, program: command } of denied) {
    const name = names.get(nr) ?? `call ${nr}`;
    const newer = answer === -38 && !names.has(nr);
    const known = newer || PROBED_EVERYWHERE.get(name) === answer || program.probes?.[name] !== undefined;
    const into = known ? probes : denials;
    const key = known ? name : `${name} by ${command} (${answer === -1 ? 'EPERM' : 'ENOSYS'})`;
    into.set(key, (into.get(key) ?? 0) + 1);
  }
  const listed = (from: ReadonlyMap<string, number>): string[] =>
    [...from].map(([name, count]) => `${name} ×${count}`);
  return { denials: listed(denials), probes: listed(probes) };
}
