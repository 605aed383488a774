import { attempt } from '../../base/errors/index.ts';
import type { NameAttribute } from '../x509/name.ts';

/** Attributes that an identity must have (trust-store-trust-policy.md, "Trusted Identities Constraints"). */
const mandatory = ['C', 'ST', 'O'] as const;

/**
 * Returns the subject of a certificate in the form that identities are compared with: each type once, C, ST
 * and O present, no unknown type. Other names are refused, as notation does.
 */
export function subjectOf(
  attributes: readonly NameAttribute[],
): ReadonlyMap<string, string> | { readonly problem: string } {
  const unknown = attributes.find(({ type }) => type.includes('.'));
  if (unknown !== undefined)
    return { problem: `its subject has the attribute ${unknown.type}, which identities cannot name` };
  return uniqueOf(attributes);
}

/**
 * Parses `C=US, ST=WA, O=example.com` (RFC 4514; `S` means `ST`). A backslash escapes a comma, semicolon,
 * plus or other sign.
 */
export function parseSubject(text: string): ReadonlyMap<string, string> | { readonly problem: string } {
  if (text.includes('=#')) return { problem: 'it contains "=#", which is not supported' };
  const attributes: NameAttribute[] = [];
  for (const part of splitUnescaped(text)) {
    if (typeof part !== 'string') return part;
    const equals = part.indexOf('=');
    const type = part.slice(0, equals).trim();
    if (equals < 0 || !/^[A-Za-z][A-Za-z0-9-]*$/.test(type))
      return { problem: `"${part.trim()}" is not TYPE=VALUE` };
    const value = unescape(part.slice(equals + 1));
    if (value === undefined) return { problem: `the value of ${type} has a damaged escape` };
    attributes.push({ type: type === 'S' ? 'ST' : type, value });
  }
  return uniqueOf(attributes);
}

function uniqueOf(
  attributes: readonly NameAttribute[],
): ReadonlyMap<string, string> | { readonly problem: string } {
  const found = new Map<string, string>();
  for (const { type, value } of attributes) {
    if (found.has(type)) return { problem: `it has ${type} twice` };
    if (value === '') return { problem: `its ${type} is empty` };
    found.set(type, value);
  }
  const missing = mandatory.filter((type) => !found.has(type));
  return missing.length === 0
    ? found
    : { problem: `it has no ${missing.join(', ')}; C, ST (or S) and O are required` };
}

/** Returns whether `subject` has every attribute of `wanted` with the same value. */
export function isSubset(wanted: ReadonlyMap<string, string>, subject: ReadonlyMap<string, string>): boolean {
  return [...wanted].every(([type, value]) => subject.get(type) === value);
}

function* splitUnescaped(text: string): Generator<string | { problem: string }, void> {
  let start = 0;
  for (let index = 0; index < text.length; index += 1) {
    const sign = text[index];
    if (sign === '\\') index += 1;
    else if (sign === '+') {
      yield {
        problem: 'it joins attributes with "+", which is not supported (write "\\+" for the character)',
      };
      return;
    } else if (sign === '"' || sign === '<' || sign === '>') {
      yield { problem: `it contains ${sign} without a backslash` };
      return;
    } else if (sign === ',' || sign === ';') {
      yield text.slice(start, index);
      start = index + 1;
    }
  }
  yield text.slice(start);
}

/**
 * Unescapes a value (RFC 4514 section 2.4): a backslash precedes a sign or two hexadecimal digits of UTF-8;
 * blanks around a value do not count.
 */
function unescape(text: string): string | undefined {
  const bytes: Buffer[] = [];
  let end = text.length;
  while (end > 0 && text[end - 1] === ' ' && text[end - 2] !== '\\') end -= 1;
  for (let index = text.length - text.trimStart().length; index < end; index += 1) {
    if (text[index] !== '\\') {
      bytes.push(Buffer.from(String.fromCodePoint(text.codePointAt(index) ?? 0)));
      if ((text.codePointAt(index) ?? 0) > 0xffff) index += 1;
      continue;
    }
    const pair = /^[0-9a-fA-F]{2}/.exec(text.slice(index + 1, index + 3));
    const sign = text[index + 1];
    if (pair !== null) {
      bytes.push(Buffer.from(pair[0], 'hex'));
      index += 2;
    } else if (sign !== undefined && ' "#+,;<=>\\'.includes(sign)) {
      bytes.push(Buffer.from(sign));
      index += 1;
    } else return undefined;
  }
  return attempt(() =>
    new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(bytes)),
  );
}
