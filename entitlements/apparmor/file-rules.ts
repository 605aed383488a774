import { asOneMember } from '../compare/files.ts';
import { NAME_BYTE, SLASH, bytesOf, singleByte } from '../files/byte-set.ts';
import { patternOf } from '../files/pattern-of.ts';
import type { PatternNode, PatternSequence } from '../files/path-pattern.ts';
import { withStandardDevices } from '../profile/standard-devices.ts';
import type { FileRules } from '../profile/model.ts';
import type { FileAccess } from '../types.ts';

/**
 * Permissions that are granted: reading includes mapping as code, as in Landlock; an executed program stays
 * under the same profile.
 */
const GRANTED: Readonly<Record<FileAccess, string>> = { read: 'rm', write: 'wlk', execute: 'ix' };
const DENIED: Readonly<Record<FileAccess, string>> = { read: 'r', write: 'wlk', execute: 'x' };

/**
 * Returns file rules in the syntax of apparmor.d(5), one line each, which replace `file,`.
 * @throws ENTITLEMENTS_TOO_COMPLEX if AppArmor, whose denials apply to all rules, cannot express the same
 * rules
 */
export function appArmorFileRules(files: readonly FileRules[]): string[] {
  const { allow, deny } = asOneMember(withStandardDevices(files));
  return [
    ...allow.map(({ pattern, access }) => `${appArmorPattern(pattern)} ${modes(access, GRANTED)},`),
    ...deny.map(({ pattern, access }) => `deny ${appArmorPattern(pattern)} ${modes(access, DENIED)},`),
  ];
}

/** Returns each letter once, with the execution mode last. */
function modes(access: readonly FileAccess[], letters: Readonly<Record<FileAccess, string>>): string {
  return (['read', 'write', 'execute'] as const)
    .filter((name) => access.includes(name))
    .map((name) => letters[name])
    .join('');
}

/**
 * Returns a pattern as a quoted AppArmor glob that matches the same clean paths. @param after a glob to
 * append
 */
export function appArmorPattern(pattern: string, after = ''): string {
  return `"${appArmorGlob(pattern)}${after}"`;
}

/** Returns a pattern as an AppArmor glob that matches the same clean paths, and needs no quotes. */
export function appArmorGlob(pattern: string): string {
  return glob(patternOf(pattern), false);
}

/** @param inside braces, where a comma separates */
function glob(sequence: PatternSequence, inside: boolean): string {
  return sequence
    .map((node, at) => {
      if (node.kind === 'alternatives') return `{${node.of.map((option) => glob(option, true)).join(',')}}`;
      if (node.kind === 'byte') return byteText(node.of);
      const stars = node.of === NAME_BYTE ? '*' : '**';
      // AppArmor's own stars match at least one character if nothing else follows a slash.
      return !inside && at > 0 && isSlash(sequence[at - 1]) && at === sequence.length - 1
        ? `{,${stars}}`
        : stars;
    })
    .join('');
}

function isSlash(node: PatternNode | undefined): boolean {
  return node?.kind === 'byte' && node.of === singleByte(SLASH);
}

function byteText(of: bigint): string {
  if (of === NAME_BYTE) return '?';
  const members = bytesOf(of);
  if (members.length === 1) return literal(members[0] ?? 0);
  // A negated class of AppArmor includes the slash.
  const negated = of >> 128n !== 0n;
  const listed = negated ? bytesOf(NAME_BYTE & ~of).filter((byte) => byte >= 0x20 && byte < 0x7f) : members;
  return `[${negated ? '^' : ''}${classText(negated ? [SLASH, ...listed] : listed)}]`;
}

/**
 * Returns the members of a class. The parser removes escapes before it reads a class: a dash makes no range
 * if it is first, a circumflex does not negate if it is last, and a comma must not be escaped, or the class
 * also contains the backslash.
 */
function classText(bytes: readonly number[]): string {
  const place = (byte: number): number => (byte === DASH ? -1 : byte === CIRCUMFLEX ? 1 : 0);
  return bytes
    .toSorted((a, b) => place(a) - place(b))
    .map((byte) => (byte === COMMA ? ',' : literal(byte)))
    .join('');
}

const [DASH, CIRCUMFLEX, COMMA] = [0x2d, 0x5e, 0x2c];

/** Plain if the byte has no meaning for AppArmor's parser, otherwise octal. */
function literal(byte: number): string {
  const letter = String.fromCharCode(byte);
  return /[A-Za-z0-9/._+=:~%;<>|&!$()'`-]/.test(letter) ? letter : `\\${byte.toString(8).padStart(3, '0')}`;
}
