import { parseJson } from '../../base/json/index.ts';
import type { PathSegment, Position } from '../../base/schema/index.ts';

/**
 * Returns the positions of the parts of a JSON text: for a path, the position of its value, or of the nearest
 * enclosing part. A text that is not JSON has only its beginning. Unlike in YAML, numbers may have any size.
 */
export function jsonPlaces(text: string, file: string): (path: readonly PathSegment[]) => Position {
  const offsets = offsetsOf(text);
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return (path) => {
    let offset = offsets.get('') ?? 0;
    for (let length = 1; length <= path.length; length++)
      offset = offsets.get(keyOf(path.slice(0, length))) ?? offset;
    const line = starts.findLastIndex((start) => start <= offset);
    return { file, line: line + 1, column: offset - (starts[line] ?? 0) + 1 };
  };
}

function keyOf(path: readonly PathSegment[]): string {
  return path.map((segment) => JSON.stringify(String(segment))).join('.');
}

/** The tokens of JSON. Other text is skipped. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g;

function offsetsOf(text: string): Map<string, number> {
  const offsets = new Map<string, number>();
  const path: PathSegment[] = [];
  /** For each open bracket, whether it belongs to a list. */
  const lists: boolean[] = [];
  let key: string | undefined;
  const begin = (at: number): void => {
    const top = path.length - 1;
    const last = path[top];
    if (lists.at(-1) === false && key !== undefined) path[top] = key;
    else if (typeof last === 'number' && lists.at(-1) === true) path[top] = last + 1;
    key = undefined;
    const found = keyOf(path);
    if (!offsets.has(found)) offsets.set(found, at);
  };
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (token === ',' || token === ':') continue;
    if (token === '}' || token === ']') {
      lists.pop();
      path.pop();
    } else if (lists.at(-1) === false && key === undefined) {
      key = token.startsWith('"') ? unquoted(token) : token;
    } else {
      begin(index);
      if (token !== '{' && token !== '[') continue;
      lists.push(token === '[');
      path.push(token === '[' ? -1 : '');
    }
  }
  return offsets;
}

function unquoted(token: string): string {
  try {
    return String(parseJson(token));
  } catch {
    return token;
  }
}
