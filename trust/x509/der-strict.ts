import { derTag, DerError, headerAt, readDer } from './der.ts';
import type { DerElement } from './der.ts';
import { contentProblem } from './der-values.ts';

/** Certificates, timestamps and revocation answers nest about fifteen levels deep. */
const maximumDepth = 32;

/**
 * Reads one element that fills the bytes, and checks every element inside it against DER (X.690 sections 8,
 * 10 and 11): definite, shortest lengths; low tag numbers; primitive and constructed forms as the type
 * requires; shortest INTEGER and OBJECT IDENTIFIER; BOOLEAN 00 or FF; unused bits of a BIT STRING zero; times
 * in their only form; characters of the string type; a SET in ascending order. Each value therefore has one
 * encoding, and signed bytes cannot be read in two ways. Each byte is visited once, and nesting is bounded.
 * Rules that depend on the type (a DEFAULT that must be absent) are checked where the type is known.
 * @throws DerError
 */
export function readStrict(bytes: Uint8Array): DerElement {
  const element = readDer(bytes);
  checkAll(element.whole);
  return element;
}

interface Level {
  readonly end: number;
  /** A SET: where the previous member begins and ends. */
  readonly ordered: boolean;
  last: readonly [start: number, end: number] | undefined;
}

function checkAll(bytes: Buffer): void {
  const levels: Level[] = [{ end: bytes.length, ordered: false, last: undefined }];
  let at = 0;
  for (;;) {
    let level = levels.at(-1) as Level;
    while (at === level.end) {
      levels.pop();
      const outer = levels.at(-1);
      if (outer === undefined) return;
      level = outer;
    }
    const { tag, start, end } = headerAt(bytes, at, level.end, 0);
    if (level.ordered) {
      const { last } = level;
      if (last !== undefined && !ascends(bytes, last, [at, end]))
        throw new DerError('the members of a set are not in ascending order', at);
      level.last = [at, end];
    }
    if (isConstructed(tag, at)) {
      if (levels.length > maximumDepth)
        throw new DerError(`elements are nested more than ${maximumDepth} deep`, at);
      levels.push({ end, ordered: tag === derTag.set, last: undefined });
      at = start;
    } else {
      const problem = tag < 0x40 ? contentProblem(tag, bytes, start, end) : undefined;
      if (problem !== undefined) throw new DerError(problem, at);
      at = end;
    }
  }
}

/**
 * Returns whether the type is constructed.
 * @throws DerError for a form that DER does not allow for the type, such as a constructed string
 */
function isConstructed(tag: number, at: number): boolean {
  const constructed = (tag & 0x20) !== 0;
  const universal = tag < 0x40;
  if (universal && constructed !== ((tag & 0x1f) === 0x10 || (tag & 0x1f) === 0x11))
    throw new DerError(`the tag 0x${tag.toString(16)} is not in the form that DER has for it`, at);
  return constructed;
}

/**
 * Returns whether two members are in order. X.690 section 11.6: encodings compare as octet strings, the
 * shorter one padded with zeros. Equal members may follow each other.
 */
function ascends(
  bytes: Buffer,
  [start, end]: readonly [number, number],
  [nextStart, nextEnd]: readonly [number, number],
): boolean {
  // The length of an element is near its beginning: two elements of different lengths differ before the
  // shorter one ends.
  return bytes.compare(bytes, nextStart, nextEnd, start, end) <= 0;
}

/**
 * Returns whether the members of an implicitly tagged SET OF are in DER order, which {@link readStrict}
 * cannot check.
 */
export function isAscending(members: readonly DerElement[]): boolean {
  return members.every(
    (member, index) => index === 0 || (members[index - 1] as DerElement).whole.compare(member.whole) <= 0,
  );
}
