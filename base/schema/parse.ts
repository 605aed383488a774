import { Composer, LineCounter, Parser, isAlias, isMap, isPair, isScalar, isSeq, visit } from 'yaml';
import type { Document as YamlDocument, ScalarTag, YAMLMap } from 'yaml';
import { append } from '../lists/index.ts';
import { flowDepthExceeds } from './flow-depth.ts';
import { sortProblems } from './problems.ts';
import type { Document, ParseLimits, PathSegment, Position, Problem } from './types.ts';

/**
 * The maximum number of aliases in a document, and of repeats of a node that they lead to (the "billion
 * laughs").
 */
const maxAliasCount = 100;
/** The maximum number of problems reported for one text. A reader fixes the first ones first. */
const problemLimit = 100;

/**
 * Parses YAML 1.2 (and therefore JSON), one or several documents. Never throws: each error in the text
 * becomes a problem. The first 100 problems are reported at once, sorted by position. A document with a
 * problem is omitted. A megabyte takes about a second and 60 MB, or up to 300 MB if it is wrong everywhere.
 */
export function parseDocuments(
  text: string,
  file: string,
  limits: ParseLimits = {},
): { readonly documents: readonly Document[]; readonly problems: readonly Problem[] } {
  const { bytes = 1024 * 1024, depth = 64, documents: documentLimit = 1000, octal = false } = limits;
  const refuse = (message: string, fix: string) => ({
    documents: [],
    problems: [
      { position: { file, line: 1, column: 1 }, path: '', message, fix, hidesOthers: true as const },
    ],
  });
  if (new TextEncoder().encode(text).length > bytes)
    return refuse(`the file is larger than ${bytes} bytes`, 'split it');
  // The parser recurses. The nesting is bounded before it starts where the text alone shows it, and
  // afterwards where it does not.
  if (flowDepthExceeds(text, depth)) return refuse(`nested deeper than ${depth} levels`, 'flatten it');

  const lines = new LineCounter();
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  let parsed: readonly YamlDocument.Parsed[];
  try {
    parsed = composeDocuments(text, lines, documentLimit, octal);
  } catch {
    return refuse('nested too deeply to be read', 'flatten it');
  }
  if (parsed.length > documentLimit)
    return refuse(`the file contains more than ${documentLimit} documents`, 'split it');

  const documents: Document[] = [];
  const problems: Problem[] = [];
  for (const yaml of parsed) {
    const found = [...syntaxProblems(yaml, at), ...valueProblems(yaml, at, depth)];
    append(
      problems,
      found
        .slice(0, problemLimit - problems.length)
        .map((problem) => ({ ...problem, hidesOthers: true as const })),
    );
    if (found.length > 0) continue;
    if (isEmpty(yaml)) continue;
    try {
      const value: unknown = yaml.toJS({ maxAliasCount });
      documents.push({ value, file, positionOf: (path, part = 'value') => at(offsetOf(yaml, path, part)) });
    } catch (error) {
      problems.push({
        position: at(yaml.range[0]),
        path: '',
        message:
          error instanceof ReferenceError
            ? 'aliases repeat too much of the document'
            : 'the document cannot be read as plain values',
        fix: 'repeat the parts instead of using anchors',
        hidesOthers: true,
      });
    }
  }
  return { documents, problems: sortProblems(problems) };
}

const octalInteger: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^0[0-7]+$/u,
  resolve: (text) => Number.parseInt(text, 8),
};

/**
 * Does the same as `parseAllDocuments` of the library, with two differences: it stops after one document more
 * than `limit`, and errors carry no stack.
 */
function composeDocuments(
  text: string,
  lines: LineCounter,
  limit: number,
  octal: boolean,
): YamlDocument.Parsed[] {
  const documents: YamlDocument.Parsed[] = [];
  const composer = new Composer({
    lineCounter: lines,
    uniqueKeys: false,
    version: '1.2',
    prettyErrors: false,
    stringKeys: false,
    ...(octal && { customTags: (tags) => [octalInteger, ...tags] }),
  });
  const { stackTraceLimit } = Error;
  // A text that is wrong everywhere causes an error at every second byte. With stacks, these errors take 700
  // times the size of the text.
  Error.stackTraceLimit = 0;
  try {
    for (const document of composer.compose(new Parser(lines.addNewLine).parse(text))) {
      documents.push(document);
      if (documents.length > limit) break;
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  return documents;
}

function syntaxProblems(yaml: YamlDocument.Parsed, at: (offset: number) => Position): Problem[] {
  return [...yaml.errors, ...yaml.warnings].slice(0, problemLimit).map((error) => ({
    position: at(error.pos[0]),
    path: '',
    message: firstLine(error.message),
  }));
}

function firstLine(message: string): string {
  const line = message.split('\n')[0] ?? message;
  return line.charAt(0).toLowerCase() + line.slice(1);
}

/** Finds what YAML allows but configuration must not contain. */
function valueProblems(
  yaml: YamlDocument.Parsed,
  at: (offset: number) => Position,
  depth: number,
): Problem[] {
  const problems: Problem[] = [];
  const report = (node: unknown, message: string, fix: string): void => {
    problems.push({ position: at(startOf(node) ?? 0), path: '', message, fix });
  };
  const { version } = yaml.directives.yaml;
  if (version !== '1.2') {
    const fix = 'remove the directive, or write %YAML 1.2';
    report(yaml, `the document is YAML ${version}, in which other words and numbers have a meaning`, fix);
  }
  let aliases = 0;
  visit(yaml, (key, node, ancestors) => {
    if (problems.length >= problemLimit) return visit.BREAK;
    if ((isMap(node) || isSeq(node)) && ancestors.filter((one) => isMap(one) || isSeq(one)).length >= depth) {
      report(node, `nested deeper than ${depth} levels`, 'flatten it');
      return visit.BREAK;
    }
    // The parser's own check compares every key with every other key.
    if (isMap(node))
      for (const twice of repeatedKeys(node))
        report(twice, `the key \`${keyText(twice)}\` occurs twice in one mapping`, 'remove one of the two');
    if (isAlias(node)) {
      if (++aliases > maxAliasCount) {
        report(node, `more than ${maxAliasCount} aliases`, 'repeat the parts instead of using aliases');
        return visit.BREAK;
      }
      const target = node.resolve(yaml);
      if (target === undefined)
        report(
          node,
          `the alias *${node.source} has no anchor before it`,
          `if it is a text, write it in quotes: "*${node.source}"; otherwise repeat the part that it refers to`,
        );
      else if (ancestors.includes(target))
        report(
          node,
          `the alias *${node.source} is inside its own anchor`,
          'repeat the part instead of using an alias',
        );
    }
    if (key === 'key' && (!isScalar(node) || node.value === null))
      report(node, 'a key must be a text', 'write a plain word before the colon');
    // The keys `1.10` and `1.1` are one number, and the text of both would be `1.1`.
    else if (
      key === 'key' &&
      isScalar(node) &&
      (typeof node.value === 'number' || typeof node.value === 'boolean') &&
      node.source !== String(node.value)
    )
      report(
        node,
        `the key ${node.source} is not a text, and is read as ${String(node.value)}`,
        'write it in quotes',
      );
    if (!isPlain(node))
      report(
        node,
        `the tag ${tagText(node)} makes a value that is not plain`,
        'write the value without the tag',
      );
    // The kernel ends a path at this character, so that another file would be meant.
    if (isScalar(node) && typeof node.value === 'string' && node.value.includes('\0'))
      report(node, 'the text contains a NUL character', 'remove the character');
    if (
      isScalar(node) &&
      typeof node.value === 'number' &&
      Number.isInteger(node.value) &&
      !Number.isSafeInteger(node.value)
    ) {
      report(node, 'the number is too large to be kept exactly', 'write it in quotes if the field is a text');
    }
    return undefined;
  });
  return problems;
}

/**
 * Returns true for an empty part between two separators, or one with comments only: there is no document to
 * check. A written `null` is a document.
 */
function isEmpty({ contents }: YamlDocument.Parsed): boolean {
  if (!isScalar(contents)) return contents === null;
  const [start, end] = contents.range;
  return contents.value === null && start === end;
}

const plainTags: readonly string[] = ['tag:yaml.org,2002:map', 'tag:yaml.org,2002:seq'];

/**
 * Returns false for a value that is neither a mapping, a list, a text, a number, a truth value nor null, such
 * as an ordered map (`!!omap`). A schema would see an object without fields, and nothing in it would count.
 */
function isPlain(node: unknown): boolean {
  if (isMap(node) || isSeq(node)) return node.tag === undefined || plainTags.includes(node.tag);
  return !isScalar(node) || node.value === null || !['object', 'symbol'].includes(typeof node.value);
}

function tagText(node: unknown): string {
  const tag = isMap(node) || isSeq(node) || isScalar(node) ? (node.tag ?? '') : '';
  return tag.replace('tag:yaml.org,2002:', '!!');
}

function repeatedKeys(map: YAMLMap): unknown[] {
  const seen = new Set<string>();
  const twice: unknown[] = [];
  for (const { key } of map.items) {
    const text = keyText(key);
    if (seen.has(text)) twice.push(key);
    seen.add(text);
  }
  return twice.slice(0, problemLimit);
}

function startOf(node: unknown): number | undefined {
  const range: unknown =
    typeof node === 'object' && node !== null && 'range' in node ? node.range : undefined;
  return Array.isArray(range) && typeof range[0] === 'number' ? range[0] : undefined;
}

function offsetOf(yaml: YamlDocument.Parsed, path: readonly PathSegment[], part: 'value' | 'key'): number {
  let node: unknown = yaml.contents;
  let offset = startOf(node) ?? yaml.range[0];
  for (const [index, segment] of path.entries()) {
    if (isAlias(node)) node = node.resolve(yaml);
    let next: unknown;
    let key: unknown;
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && keyText(item.key) === String(segment));
      next = pair?.value;
      key = pair?.key;
    } else if (isSeq(node)) {
      next = node.items[Number(segment)];
    }
    const wanted = part === 'key' && index === path.length - 1 ? (key ?? next) : (next ?? key);
    const found = startOf(wanted);
    if (found === undefined) return offset;
    offset = found;
    node = next;
  }
  return offset;
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : '';
}
