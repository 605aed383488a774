import { parseJson } from '../../base/json/index.ts';
import { LRUCache } from 'lru-cache';
import { attempt } from '../../base/errors/index.ts';

/** JSON with the position of each value, so that an error can name line and column. Pure. */

export interface JsonText {
  readonly value: unknown;
  /**
   * Returns the 1-based line and column of the value at a path (`plugins`, 0, `ipam`), or of the nearest
   * enclosing value.
   */
  positionOf(path: readonly (string | number)[]): TextPosition;
}

export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

export interface JsonFault extends TextPosition {
  readonly message: string;
}

const maxDepth = 64;

/**
 * Parsed plugin configurations. The same text arrives with every pod of a network, and several times within
 * one call. Lengths count UTF-16 units.
 */
const configurations = new LRUCache<string, JsonText | JsonFault>({
  max: 128,
  maxSize: 1024 * 1024,
  maxEntrySize: 64 * 1024,
  sizeCalculation: (_read, text) => text.length + 1,
});

/**
 * Like {@link readJson}, for a plugin's configuration. The most recent ones are cached, so callers must not
 * modify the value.
 */
export function readConfigurationJson(text: string): JsonText | JsonFault {
  const remembered = configurations.get(text);
  if (remembered !== undefined) return remembered;
  const read = readJson(text);
  configurations.set(text, read);
  return read;
}

/**
 * Parses strict JSON (RFC 8259), at most 64 levels deep. If a name occurs twice, the last one counts, as in
 * Go.
 */
export function readJson(text: string): JsonText | JsonFault {
  const value = parsed(text);
  if (value === undefined || !isShallow(value, 0)) return readPlaces(text);
  let places: JsonText | JsonFault | undefined;
  return {
    value,
    positionOf(path) {
      places ??= readPlaces(text);
      return 'message' in places ? places : places.positionOf(path);
    },
  };
}

/**
 * Parses with the JavaScript engine, which is many times faster than our parser. Ours is needed only to
 * locate errors. Returns undefined if the text is not JSON.
 */
function parsed(text: string): unknown {
  return attempt(() => parseJson(text));
}

function isShallow(value: unknown, depth: number): boolean {
  if (depth > maxDepth) return false;
  return (
    typeof value !== 'object' ||
    value === null ||
    Object.values(value).every((each) => isShallow(each, depth + 1))
  );
}

/** Parses the text with the position of each value. */
function readPlaces(text: string): JsonText | JsonFault {
  const offsets = new Map<string, number>();
  const placeOf = createLineCounter(text);
  let at = 0;

  const fail = (message: string, offset = at): never => {
    throw new Fault(message, offset);
  };
  const blank = (): void => {
    while (at < text.length && ' \t\r\n'.includes(text.charAt(at))) at += 1;
  };
  const token = (pattern: RegExp, what: string): string => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null)
      return fail(
        at >= text.length
          ? `the text ends where ${what} is expected`
          : `${what} expected, found ${JSON.stringify(text.charAt(at))}`,
      );
    at += match[0].length;
    return match[0];
  };
  const string = (): string => {
    const start = at;
    const raw = token(/"(?:[^"\\\u0000-\u001f]|\\.)*"/suy, 'a string');
    try {
      return parseJson(raw) as string;
    } catch {
      return fail('the string has an invalid escape', start);
    }
  };
  const object = (path: string, depth: number): Record<string, unknown> => {
    const members: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    at += 1;
    blank();
    if (text.charAt(at) === '}') {
      at += 1;
      return members;
    }
    for (;;) {
      blank();
      const name = string();
      blank();
      token(/:/uy, "':'");
      members[name] = value(`${path}/${name}`, depth + 1);
      blank();
      if (token(/[,}]/uy, "',' or '}'") === '}') return members;
    }
  };
  const array = (path: string, depth: number): unknown[] => {
    const items: unknown[] = [];
    at += 1;
    blank();
    if (text.charAt(at) === ']') {
      at += 1;
      return items;
    }
    for (;;) {
      items.push(value(`${path}/${items.length}`, depth + 1));
      blank();
      if (token(/[,\]]/uy, "',' or ']'") === ']') return items;
    }
  };
  const value = (path: string, depth: number): unknown => {
    blank();
    if (depth > maxDepth) fail(`nested deeper than ${maxDepth}`);
    offsets.set(path, at);
    const first = text.charAt(at);
    if (first === '{') return object(path, depth);
    if (first === '[') return array(path, depth);
    if (first === '"') return string();
    const word = token(/true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/uy, 'a value');
    return parseJson(word);
  };

  try {
    const parsed = value('', 0);
    blank();
    if (at < text.length) fail('something follows after the value');
    return {
      value: parsed,
      positionOf(path) {
        for (let length = path.length; length > 0; length -= 1) {
          const offset = offsets.get(`/${path.slice(0, length).join('/')}`);
          if (offset !== undefined) return placeOf(offset);
        }
        return placeOf(offsets.get('') ?? 0);
      },
    };
  } catch (thrown) {
    if (thrown instanceof Fault) return { ...placeOf(thrown.offset), message: thrown.message };
    throw thrown;
  }
}

class Fault extends Error {
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** Returns a function that converts offsets to positions. It counts the lines of the text once. */
function createLineCounter(text: string): (offset: number) => TextPosition {
  let starts: number[] | undefined;
  return (offset) => {
    if (starts === undefined) {
      starts = [0];
      for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', end + 1)) starts.push(end + 1);
    }
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
  };
}
