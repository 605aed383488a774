import type { FileRule } from '../profile/model.ts';
import type { FileAccess } from '../types.ts';

/**
 * Converts the letters of AppArmor's rules on files (apparmor.d(5), access modes) to access of a profile.
 * Pure.
 */

/** Returns what the letters of an allow rule grant. `drop` gets the letters that a profile cannot express. */
export function grantedAccess(letters: string, drop: (why: string) => void): FileAccess[] {
  const access: FileAccess[] = [];
  if (/[pPcCuU]/.test(letters)) drop('a profile cannot express running under another profile, or under none');
  else if (letters.includes('x')) access.push('execute');
  if (letters.includes('m') && !letters.includes('r'))
    drop('read access includes mapping as code; this grants nothing');
  if (letters.includes('r')) access.push('read');
  if (letters.includes('w')) access.push('write');
  else if (/[akl]/.test(letters)) drop('a profile cannot express appending, locking and linking alone');
  return access;
}

/** Returns what the letters of a deny rule deny. A denial may only become wider here. */
export function deniedAccess(letters: string): FileAccess[] {
  return [
    ...(letters.includes('x') ? (['execute'] as const) : []),
    ...(/[rm]/.test(letters) ? (['read'] as const) : []),
    ...(/[wakl]/.test(letters) ? (['write'] as const) : []),
  ];
}

/** Returns one rule for each pattern, in the order of patterns. */
export function byPattern(rules: readonly FileRule[]): FileRule[] {
  const found = new Map<string, Set<FileAccess>>();
  for (const { pattern, access } of rules) {
    const set = found.get(pattern) ?? new Set<FileAccess>();
    for (const name of access) set.add(name);
    found.set(pattern, set);
  }
  return [...found]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([pattern, access]) => ({ pattern, access: [...access].sort() }));
}
