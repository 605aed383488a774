import { parseJson } from '../json/index.ts';
import { Document, Lexer, isMap, isPair, isScalar, isSeq, visit } from 'yaml';
import type { Pair } from 'yaml';
import { parseWithComments } from './outer-comments.ts';
import { parseDocuments } from './parse.ts';
import { sameValue } from './same-value.ts';
import type { PathSegment, Problem } from './types.ts';

const style = { lineWidth: 120, indent: 2, flowCollectionPadding: true } as const;

/** Control characters, and characters that change the direction of text: a terminal may obey them. */
const unprintable = /[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Writes a value as YAML, in the form that {@link formatDocuments} produces. Ends with a newline. Readers of
 * YAML 1.1, such as Kubernetes, read the same value: a string `no` or `12:30` is in quotes. Characters that
 * are not printable are escaped.
 */
export function writeYaml(value: unknown): string {
  const document = new Document(value, { compat: 'yaml-1.1', aliasDuplicateObjects: false });
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value === 'string' && node.value.search(unprintable) >= 0) node.type = 'QUOTE_DOUBLE';
    },
  });
  return document
    .toString(style)
    .replace(unprintable, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/**
 * Returns the order of a mapping's keys, by its path. Keys that are not listed follow in their own order.
 * Undefined: the order as written.
 */
export type KeyOrder = (path: readonly PathSegment[]) => readonly string[] | undefined;

interface Formatted {
  readonly text: string;
  readonly problems: readonly Problem[];
}

/** No text is known that needs more than three. */
const mostRounds = 8;

/**
 * Writes YAML in its canonical form: two spaces per level, keys in the given order, comments kept, documents
 * separated by `---`. The meaning stays the same, which is checked. JSON stays JSON. The canonical form of
 * the result is the result. Never throws: each error in the text becomes a problem.
 */
export function formatDocuments(text: string, file: string, order: KeyOrder = () => undefined): Formatted {
  let formatted = formatOnce(text, file, order);
  // The writer moves some comments to a place where the parser gives them to another node.
  for (let round = 1; round < mostRounds && formatted.problems.length === 0; round++) {
    const again = formatOnce(formatted.text, file, order);
    if (again.problems.length > 0 || again.text === formatted.text) break;
    formatted = again;
  }
  return formatted;
}

function formatOnce(text: string, file: string, order: KeyOrder): Formatted {
  const { documents, problems } = parseDocuments(text, file);
  // A text of comments alone has no document that could be written.
  if (problems.length > 0 || documents.length === 0) return { text, problems };
  if (/^\s*\{/.test(text) && documents.length === 1 && isJson(text)) {
    return { text: `${JSON.stringify(sortedJson(documents[0]?.value, [], order), null, 2)}\n`, problems: [] };
  }
  const yaml = parseWithComments(text);
  for (const document of yaml) sortKeys(document.contents, [], order);
  const written = yaml.map((document, index) =>
    document.toString({ ...style, directives: index > 0 ? true : null }),
  );
  // Empty lines at the end are written only where they are part of a value, as in a block `|+`.
  for (const parts of [written.map((part) => `${part.trimEnd()}\n`), written]) {
    const formatted = parts.join('');
    const again = parseDocuments(formatted, file);
    const same =
      again.problems.length === 0 &&
      sameValue(
        again.documents.map((document) => document.value),
        documents.map((document) => document.value),
      );
    if (same && sameValue(commentsOf(formatted), commentsOf(text))) return { text: formatted, problems: [] };
  }
  const message = 'it cannot be written in canonical form without a change of its meaning';
  return {
    text,
    problems: [
      {
        position: { file, line: 1, column: 1 },
        path: '',
        message,
        fix: 'write it without anchors and directives',
      },
    ],
  };
}

function sortKeys(node: unknown, path: readonly PathSegment[], order: KeyOrder): void {
  if (isSeq(node)) node.items.forEach((item, index) => sortKeys(item, [...path, index], order));
  if (!isMap(node)) return;
  const wanted = order(path);
  const pairs: Pair[] = node.items.filter((item) => isPair(item));
  const [first] = pairs;
  if (wanted !== undefined)
    node.items = pairs.toSorted((a, b) => rank(wanted, keyOf(a)) - rank(wanted, keyOf(b)));
  if (first !== undefined) moveHead(first, node.items[0]);
  for (const pair of pairs) sortKeys(pair.value, [...path, keyOf(pair)], order);
}

/**
 * A comment above the first key belongs to the whole mapping, so it stays above the key that is first now.
 */
function moveHead({ key: was }: Pair, now: Pair | undefined): void {
  const is = now?.key;
  if (was === is || !isScalar(was) || !isScalar(is)) return;
  const comments = [was.commentBefore, is.commentBefore].filter((comment) => typeof comment === 'string');
  for (const key of [was, is]) {
    delete key.spaceBefore;
    key.commentBefore = null;
  }
  if (comments.length > 0) is.commentBefore = comments.join('\n');
}

function keyOf({ key }: Pair): string {
  return isScalar(key) ? String(key.value) : '';
}

function rank(wanted: readonly string[], key: string): number {
  const index = wanted.indexOf(key);
  return index < 0 ? wanted.length : index;
}

function isJson(text: string): boolean {
  try {
    parseJson(text);
    return true;
  } catch {
    return false;
  }
}

function sortedJson(value: unknown, path: readonly PathSegment[], order: KeyOrder): unknown {
  if (Array.isArray(value)) return value.map((item, index) => sortedJson(item, [...path, index], order));
  if (typeof value !== 'object' || value === null) return value;
  const wanted = order(path) ?? [];
  const entries = Object.entries(value).toSorted(([a], [b]) => rank(wanted, a) - rank(wanted, b));
  return Object.fromEntries(entries.map(([key, part]) => [key, sortedJson(part, [...path, key], order)]));
}

/** Returns every comment of a text, in alphabetical order: keys may move, but comments may not get lost. */
function commentsOf(text: string): readonly string[] {
  return [...new Lexer().lex(text)]
    .filter((token) => token.startsWith('#'))
    .map((token) => token.trim())
    .sort();
}
