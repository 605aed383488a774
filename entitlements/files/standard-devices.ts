import type { FileRules } from '../profile/model.ts';

/** The device nodes that every container has: whether they may be used is the device rules' business, not the file rules'. */
const STANDARD_DEVICES: FileRules['allow'] = [
  { pattern: '/dev/{console,full,null,ptmx,random,tty,urandom,zero}', access: ['read', 'write'] },
  { pattern: '/dev/pts/**', access: ['read', 'write'] },
];

/** File rules as they are enforced: with the standard devices. A denial of theirs still counts. */
export function withStandardDevices(files: readonly FileRules[]): readonly FileRules[] {
  const members = files.length === 0 ? [{ allow: [], deny: [] }] : files;
  return members.map(({ allow, deny }) => ({ allow: [...allow, ...STANDARD_DEVICES], deny }));
}
