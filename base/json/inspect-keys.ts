import { maxJsonDepth, parseJson } from './parse-json.ts';
import { endOfString, isKey, quote } from './strings.ts';

/** The fields of a format. */
export interface FieldNames {
  readonly fields: readonly string[];
  /** Fields whose value is an object with keys of any text. */
  readonly maps: readonly string[];
}

/** Facts about the keys of a text, which different readers may understand differently. */
interface KeyInspection {
  /** How deep objects and arrays are nested; at most one more than {@link maxJsonDepth}. */
  readonly depth: number;
  /** The first key that an object has twice. `JSON.parse` takes the last one, and other readers do not. */
  readonly repeated?: string;
  /**
   * The first key that differs from a field only in the case of its letters. Go (package encoding/json) reads
   * such a key as that field, and other readers do not.
   */
  readonly otherCase?: string;
}

interface Level {
  /** Undefined for an array. */
  readonly keys: Set<string> | undefined;
  readonly isMap: boolean;
  key: string;
}

const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Inspects the keys of a JSON text in one pass. Stops at a repeated key, and where the text is nested too
 * deep. The text need not be valid: the result for other texts means nothing, and `parseJson` refuses them.
 */
export function inspectKeys(text: string, names: FieldNames = { fields: [], maps: [] }): KeyInspection {
  const anyCase = inAnyCase(names.fields);
  const levels: Level[] = [];
  let depth = 0;
  let otherCase: string | undefined;
  const found = (repeated?: string): KeyInspection => ({
    depth,
    ...(repeated === undefined ? {} : { repeated }),
    ...(otherCase === undefined ? {} : { otherCase }),
  });
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      const end = endOfString(text, at);
      const level = levels.at(-1);
      if (level?.keys !== undefined && isKey(text, end)) {
        const key = keyOf(text, at, end);
        if (level.keys.has(key)) return found(key);
        level.keys.add(key);
        level.key = key;
        if (!level.isMap && anyCase.test(key) && !names.fields.includes(key)) otherCase ??= key;
      }
      at = end;
    } else if (code === openBrace || code === openBracket) {
      const key = levels.at(-1)?.key ?? '';
      levels.push({
        keys: code === openBrace ? new Set() : undefined,
        isMap: names.maps.includes(key),
        key: '',
      });
      depth = Math.max(depth, levels.length);
      if (depth > maxJsonDepth) return found();
    } else if (code === closeBrace || code === closeBracket) levels.pop();
  }
  return found();
}

/**
 * Returns a clause about the first key that readers of a text understand differently, with "it" for the text.
 */
export function keyFlaw(text: string, names: FieldNames): string | undefined {
  const { repeated, otherCase } = inspectKeys(text, names);
  if (repeated !== undefined) return `it contains the key ${shown(repeated)} twice`;
  return otherCase === undefined
    ? undefined
    : `its key ${shown(otherCase)} differs from the name of a field only in upper and lower case`;
}

const shown = (key: string): string => JSON.stringify(key.slice(0, 64));

function keyOf(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end);
  if (!raw.includes('\\')) return raw;
  try {
    return parseJson(`"${raw}"`) as string;
  } catch {
    return raw;
  }
}

/**
 * Matches the fields in upper and lower case. As in Go, the long s and the Kelvin sign count as an s and a k,
 * which is the meaning of the flags `i` and `u` together.
 */
function inAnyCase(fields: readonly string[]): RegExp {
  if (fields.length === 0) return /(?!)/u;
  return new RegExp(`^(?:${fields.map((field) => field.replaceAll('.', String.raw`\.`)).join('|')})$`, 'iu');
}
