/** More names than resolv.conf(5) uses, and longer ones than a name can be, are left out. */
const mostNames = 16;
const longestName = 253;
const label = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/iu;

/**
 * Returns the names of the option `searchList` (RFC 3397): DNS names, with pointers (RFC 1035, section 4.1.4)
 * into the option itself. A pointer must lead backwards, so that no chain of pointers is endless. Names after
 * the first malformed one are left out.
 */
export function readSearchList(option: Uint8Array): string[] {
  const names: string[] = [];
  for (let at = 0; at < option.length && names.length < mostNames;) {
    const read = readName(option, at);
    if (read === undefined) return names;
    if (read.name !== '') names.push(read.name);
    at = read.next;
  }
  return names;
}

function readName(option: Uint8Array, start: number): { name: string; next: number } | undefined {
  const labels: string[] = [];
  let next: number | undefined;
  let lowest = start;
  let total = 0;
  for (let at = start; ;) {
    const length = option[at];
    if (length === undefined) return undefined;
    if (length === 0) return { name: labels.join('.'), next: next ?? at + 1 };
    if (length >= 0xc0) {
      const low = option[at + 1];
      const target = low === undefined ? undefined : (length & 0x3f) * 256 + low;
      if (target === undefined || target >= lowest) return undefined;
      next ??= at + 2;
      lowest = target;
      at = target;
      continue;
    }
    const text = Buffer.from(option.subarray(at + 1, at + 1 + length)).toString('latin1');
    total += length + 1;
    if (length > 63 || text.length !== length || total > longestName || !label.test(text)) return undefined;
    labels.push(text);
    at += 1 + length;
  }
}

/** Returns a domain name that a server gave as text, or undefined if it is none. */
export function readDomain(option: Uint8Array | undefined): string | undefined {
  if (option === undefined || option.length > longestName + 1) return undefined;
  // Some servers end the text with a NUL byte.
  const text = Buffer.from(option).toString('latin1').replace(/\0+$/u, '').replace(/\.$/u, '');
  return text !== '' && text.split('.').every((part) => label.test(part)) ? text : undefined;
}
