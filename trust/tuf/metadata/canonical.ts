/**
 * Canonical JSON as TUF and Notary sign it (OLPC): keys in the order of their code points, no blanks, whole numbers only, and in
 * strings nothing escaped but `"` and `\`. Source: TUF specification 1.0.34, section 4.2 (metaformat), "canonical JSON".
 * @throws Error for what has no canonical form: a number that is not whole, half of a surrogate pair
 */
export function tufCanonicalJson(value: unknown): Buffer {
  const parts: string[] = [];
  write(value, parts);
  return Buffer.from(parts.join(''), 'utf8');
}

function write(value: unknown, parts: string[]): void {
  if (typeof value === 'string') parts.push(quoted(value));
  else if (value === null || typeof value === 'boolean') parts.push(String(value));
  else if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new Error(`${value} is not a whole number: it has no canonical form`);
    parts.push(String(value));
  } else if (Array.isArray(value)) writeList(value, parts);
  else writeObject(value as Record<string, unknown>, parts);
}

function writeList(list: readonly unknown[], parts: string[]): void {
  parts.push('[');
  list.forEach((entry, index) => {
    if (index > 0) parts.push(',');
    write(entry, parts);
  });
  parts.push(']');
}

function writeObject(record: Readonly<Record<string, unknown>>, parts: string[]): void {
  parts.push('{');
  let first = true;
  for (const key of inOrder(Object.keys(record))) {
    if (!first) parts.push(',');
    first = false;
    parts.push(quoted(key), ':');
    write(record[key], parts);
  }
  parts.push('}');
}

function quoted(text: string): string {
  // In UTF-8 all halves are the same replacement: two texts would have one form, and one signature.
  if (!text.isWellFormed()) throw new Error('a text holds half of a surrogate pair: it has no canonical form');
  return text.includes('"') || text.includes('\\') ? `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"` : `"${text}"`;
}

/** JavaScript compares UTF-16 units; Python and Go compare code points, which differ above U+FFFF. */
function inOrder(keys: string[]): string[] {
  return keys.some((key) => surrogate.test(key)) ? keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))) : keys.sort();
}

const surrogate = /[\ud800-\udfff]/;
