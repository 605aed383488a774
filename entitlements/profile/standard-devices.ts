import type { FileRules } from './model.ts';

/**
 * The device nodes that every container has. The device rules, not the file rules, decide whether they may be
 * used.
 */
const STANDARD_DEVICES: FileRules['allow'] = [
  { pattern: '/dev/{console,full,null,ptmx,random,tty,urandom,zero}', access: ['read', 'write'] },
  { pattern: '/dev/pts/**', access: ['read', 'write'] },
];

/**
 * Returns file rules as they are enforced: with the standard devices. An explicit denial of them still
 * counts.
 */
export function withStandardDevices(files: readonly FileRules[]): readonly FileRules[] {
  const members = files.length === 0 ? [{ allow: [], deny: [] }] : files;
  return members.map(({ allow, deny }) => ({ allow: [...allow, ...STANDARD_DEVICES], deny }));
}
