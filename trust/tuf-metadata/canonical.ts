/**
 * Returns canonical JSON as TUF and Notary sign it (OLPC): keys in the order of their code points, no
 * whitespace, integers only, and in strings only `"` and `\` escaped. Source: TUF specification 1.0.34,
 * section 4.2 (metaformat), "canonical JSON".
 * @throws Error for a value without a canonical form: a number that is not an integer, an unpaired surrogate
 */
export function tufCanonicalJson(value: unknown): Buffer {
  return Buffer.from(written(value), 'utf8');
}

function written(value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value))
      throw new Error(`${value} is not a whole number: it has no canonical form`);
    return String(value);
  }
  return Array.isArray(value)
    ? `[${value.map(written).join(',')}]`
    : writtenObject(value as Record<string, unknown>);
}

function writtenObject(record: Readonly<Record<string, unknown>>): string {
  let text = '{';
  for (const key of inOrder(Object.keys(record)))
    text += `${text.length === 1 ? '' : ','}${quoted(key)}:${written(record[key])}`;
  return `${text}}`;
}

function quoted(text: string): string {
  if (!unusual.test(text)) return `"${text}"`;
  // In UTF-8, every unpaired surrogate becomes the same replacement character: two texts would have the same
  // form and the same signature.
  if (!text.isWellFormed())
    throw new Error('a string contains an unpaired surrogate: it has no canonical form');
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

const unusual = /["\\\ud800-\udfff]/;

/** Sorts by code points as Python and Go do. JavaScript compares UTF-16 units, which differ above U+FFFF. */
function inOrder(keys: string[]): string[] {
  if (keys.length < 2) return keys;
  return keys.some((key) => surrogate.test(key))
    ? keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    : keys.sort();
}

const surrogate = /[\ud800-\udfff]/;
