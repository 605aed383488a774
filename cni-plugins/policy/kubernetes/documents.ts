import { parseJson } from '../../../base/json/index.ts';
import { append } from '../../../base/lists/index.ts';
import { parseDocuments } from '../../../base/schema/index.ts';
import type { Document, Position, Problem } from '../../../base/schema/index.ts';
import { isBlankText } from '../../followed-files/blank-text.ts';
import type { SourceText } from '../../followed-files/messages.ts';

/** Extracts the objects of a text: YAML or JSON documents, and the items of lists among them. Pure. */

/**
 * Several times what 2,000 policies need, with managedFields. Parsing a megabyte of YAML takes about 150 MB
 * of memory, so it is parsed in parts.
 */
export const limits = {
  /** Bytes of a file. */
  file: 32 * 1024 * 1024,
  /** Bytes of all files that are not larger than `file`. */
  folder: 64 * 1024 * 1024,
  /** Files of a folder. */
  files: 4096,
  /** Objects of one file. */
  objects: 20_000,
  /** Bytes of one part of a larger file. etcd stores objects of up to 1.5 MiB. */
  part: 2 * 1024 * 1024,
} as const;

/** A text up to this size is parsed in one piece. */
const smallBytes = 256 * 1024;
/** Bytes of items of a list that are parsed at a time. */
const chunkBytes = 64 * 1024;

export interface FoundDocuments {
  /** Mappings; for a List its items. Null members are left out: the API treats them as absent. */
  readonly documents: Document[];
  /** Why the text as a whole is invalid. */
  readonly problems: Problem[];
  /** The text has only comments, directives and markers. */
  readonly isEmpty?: true;
}

/**
 * Reports every problem of an empty, half written or foreign text. Without a problem, the text has at least
 * one document, or an empty List.
 */
export function documentsIn({ file, text }: SourceText): FoundDocuments {
  const found: FoundDocuments = { documents: [], problems: [] };
  const report = (line: number, message: string, fix: string): void =>
    void found.problems.push({ position: { file, line, column: 1 }, path: '', message, fix });
  const bytes = Buffer.byteLength(text);
  if (bytes > limits.file) {
    report(1, `the file is larger than ${limits.file} bytes`, 'split it');
    return found;
  }
  const isSmall = bytes <= smallBytes;
  let lists = 0;
  const separated = textsOf(text);
  if (separated.every(({ part }) => isBlankText(part))) {
    report(1, 'the file is empty', emptyFix);
    return { ...found, isEmpty: true };
  }
  for (const [index, { part, line }] of separated.entries()) {
    if (isBlankText(part)) {
      // A separator after the last document is customary. A chart's template that is switched off leaves a
      // comment.
      if (index < separated.length - 1 && !part.includes('#'))
        report(line, 'the document is empty', emptyFix);
      continue;
    }
    if (isSmall) lists += addDocuments(found, parseAt(part, file, line, bytes));
    else if (/^\s*\{/u.test(part)) lists += addDocuments(found, jsonDocument(part, file, line));
    else lists += addLargeYaml(found, part, file, line);
  }
  if (found.problems.length === 0 && found.documents.length === 0 && lists === 0)
    report(1, 'the file is empty', emptyFix);
  return found;
}

const emptyFix = 'write a List with `items: []` to have no policies, or remove the file';

interface Parsed {
  readonly documents: readonly Document[];
  readonly problems: readonly Problem[];
}

/** @returns the number of lists, including empty ones */
function addDocuments(found: FoundDocuments, { documents, problems }: Parsed): number {
  append(found.problems, problems);
  let lists = 0;
  for (const document of documents) {
    const { value } = document;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      found.problems.push(
        problemAt(document, 'the document is not an object', 'write a NetworkPolicy, a Namespace or a List'),
      );
      continue;
    }
    if (!isList(value)) found.documents.push({ ...document, value: withoutNulls(value) });
    else {
      lists += 1;
      addItems(found, document, value);
    }
  }
  return lists;
}

interface WrittenList {
  readonly kind: string;
  readonly apiVersion?: unknown;
  readonly items?: unknown;
  readonly metadata?: { readonly continue?: unknown } | null;
}

const isList = (value: object): value is WrittenList =>
  'kind' in value && typeof value.kind === 'string' && value.kind.endsWith('List');

/**
 * `kubectl get -o yaml` writes a List. The API itself writes a NetworkPolicyList, whose items have no kind of
 * their own.
 */
function addItems(found: FoundDocuments, document: Document, list: WrittenList): void {
  const itemKind = { List: undefined, NetworkPolicyList: 'NetworkPolicy', NamespaceList: 'Namespace' }[
    list.kind
  ];
  if (itemKind === undefined && list.kind !== 'List')
    return void found.problems.push(
      problemAt(
        document,
        'only lists of NetworkPolicies and Namespaces are read here',
        'move it to another folder',
      ),
    );
  if (!Array.isArray(list.items))
    return void found.problems.push(
      problemAt(document, 'the List has no list of items', 'write items: [] for an empty List'),
    );
  if (typeof list.metadata?.continue === 'string' && list.metadata.continue !== '')
    return void found.problems.push(
      problemAt(
        document,
        'the List is one page of several (metadata.continue)',
        'fetch the whole List, without a limit',
      ),
    );
  list.items.forEach((item: unknown, index) => {
    const positionOf: Document['positionOf'] = (path, part) =>
      document.positionOf(['items', index, ...path], part);
    addItem(
      found,
      { value: item, file: document.file, positionOf },
      itemKind === undefined ? {} : { kind: itemKind, apiVersion: list.apiVersion },
    );
  });
}

function addItem(found: FoundDocuments, document: Document, defaults: object): void {
  const { value } = document;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    found.problems.push(
      problemAt(document, 'the item is not an object', 'write a NetworkPolicy or a Namespace'),
    );
  else found.documents.push({ ...document, value: { ...defaults, ...withoutNulls(value) } });
}

/**
 * Removes null members at any depth. Null items of arrays stay and are refused, because the API treats a null
 * rule as one that allows everything. A label that is null is a label without text, as in the API: a selector
 * without the label would select more.
 */
export function withoutNulls(value: object): object {
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, member]: [string, unknown]) =>
      member === null ? [] : [[name, labelFields.has(name) ? withLabels(member) : cleaned(member)]],
    ),
  );
}

/** The fields of the objects here that map labels to their values. */
const labelFields: ReadonlySet<string> = new Set(['labels', 'matchLabels']);

const withLabels = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).map(([key, text]: [string, unknown]) => [key, text ?? '']))
    : cleaned(value);

function cleaned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(cleaned);
  return typeof value === 'object' && value !== null ? withoutNulls(value) : value;
}

/**
 * A marker in the first column ends a document in any position, also within a scalar (YAML 1.2.2, section
 * 9.1.2).
 */
const separator = /^(?:---|\.\.\.)(?=\s|$)/gmu;

interface TextPart {
  readonly part: string;
  /** Number of its first line, from 1. */
  readonly line: number;
}

/** Splits at each `---`. Text before the first one counts only if it is more than comments and directives. */
function textsOf(text: string): readonly TextPart[] {
  const body = text.startsWith('\uFEFF') ? text.slice(1) : text;
  const starts = [
    0,
    ...[...body.matchAll(separator)].filter(({ 0: marker }) => marker === '---').map(({ index }) => index),
  ];
  const parts: TextPart[] = [];
  let [start, line] = [0, 1];
  for (const [index, from] of starts.entries()) {
    const end = starts[index + 1] ?? body.length;
    // Directives and comments before the first marker belong to the first document.
    if (index === 0 && starts.length > 1 && isBlankText(body.slice(from, end))) continue;
    const part = body.slice(start, end);
    if (part !== '') parts.push({ part, line });
    line += linesIn(part);
    start = end;
  }
  return parts.length === 0 ? [{ part: '', line: 1 }] : parts;
}

function linesIn(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lines += 1;
  return lines;
}

function parseAt(text: string, file: string, line: number, bytes: number): Parsed {
  const shifted = (position: Position): Position => ({ ...position, line: position.line + line - 1 });
  const { documents, problems } = parseDocuments(text, file, { bytes: Math.max(bytes, 1) });
  return {
    documents: documents.map((document) => ({
      ...document,
      positionOf: (path, part) => shifted(document.positionOf(path, part)),
    })),
    problems: problems.map((problem) => ({ ...problem, position: shifted(problem.position) })),
  };
}

/**
 * Parses the JSON of a large file. Problems have no exact position. When a name occurs twice the last one
 * counts, as in the API.
 */
function jsonDocument(text: string, file: string, line: number): Parsed {
  const position: Position = { file, line, column: 1 };
  try {
    return {
      documents: [{ value: parseJson(text.replace(/^---/u, '')), file, positionOf: () => position }],
      problems: [],
    };
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message.slice(0, 200) : '';
    return {
      documents: [],
      problems: [{ position, path: '', message: `it is not JSON: ${why}`, fix: 'write it whole' }],
    };
  }
}

/**
 * Parses a large YAML document. The items of a List, as kubectl writes them (`items:` and each item in the
 * first column), are parsed a few at a time. An item may not be an alias of something in another item.
 */
function addLargeYaml(found: FoundDocuments, text: string, file: string, line: number): number {
  const frame = framed(text);
  if (frame === undefined) {
    addParts(found, text, file, line);
    return 0;
  }
  const head = parseAt(`${frame.before}items: []\n${frame.after}`, file, line, limits.part);
  const [list] = head.documents;
  append(found.problems, head.problems);
  if (list === undefined || typeof list.value !== 'object' || list.value === null || !isList(list.value)) {
    if (head.problems.length === 0)
      found.problems.push({
        position: { file, line, column: 1 },
        path: '',
        message: 'the document is not a List',
        fix: 'write the whole List',
      });
    return 0;
  }
  const holder: FoundDocuments = { documents: [], problems: found.problems };
  addItems(holder, list, list.value);
  const { apiVersion, kind } = list.value;
  const itemKind =
    kind === 'NetworkPolicyList' ? 'NetworkPolicy' : kind === 'NamespaceList' ? 'Namespace' : undefined;
  for (const chunk of chunksOf(frame.items, line + frame.linesBefore)) {
    if (chunk.part.length > limits.part) {
      found.problems.push({
        position: { file, line: chunk.line, column: 1 },
        path: '',
        message: `an item is larger than ${limits.part} bytes`,
        fix: 'split it',
      });
      continue;
    }
    const parsed = parseAt(chunk.part, file, chunk.line, limits.part);
    append(found.problems, parsed.problems);
    for (const document of parsed.documents)
      for (const [index, value] of (Array.isArray(document.value)
        ? (document.value as unknown[])
        : [document.value]
      ).entries())
        addItem(
          found,
          { value, file, positionOf: (path, part) => document.positionOf([index, ...path], part) },
          itemKind === undefined ? {} : { kind: itemKind, apiVersion },
        );
  }
  return 1;
}

/** Adds one object that is large by itself. */
function addParts(found: FoundDocuments, text: string, file: string, line: number): void {
  if (text.length <= limits.part) return void addDocuments(found, parseAt(text, file, line, limits.part));
  found.problems.push({
    position: { file, line, column: 1 },
    path: '',
    message: `the document is larger than ${limits.part} bytes, and is not a List with items in the first column`,
    fix: 'write it as kubectl get -o yaml does, or as JSON',
  });
}

interface Frame {
  readonly before: string;
  readonly items: string;
  readonly after: string;
  /** Number of lines of the text before the items. */
  readonly linesBefore: number;
}

/** Returns the text before, of and after the items; undefined when no items are in the first column. */
function framed(text: string): Frame | undefined {
  const start = /^items:[^\S\n]*\n(?=- )/mu.exec(text);
  if (start === null) return undefined;
  const from = start.index + start[0].length;
  // The first line that begins with anything but an item, its content or a comment.
  const rest = /^[^-\s#]/mu.exec(text.slice(from));
  const end = rest === null ? text.length : from + rest.index;
  const before = text.slice(0, start.index);
  return { before, items: text.slice(from, end), after: text.slice(end), linesBefore: linesIn(before) + 1 };
}

function* chunksOf(items: string, line: number): Generator<TextPart> {
  let [start, at] = [0, line];
  for (const { index } of items.matchAll(/^- /gmu)) {
    if (index - start < chunkBytes) continue;
    const part = items.slice(start, index);
    yield { part, line: at };
    at += linesIn(part);
    start = index;
  }
  yield { part: items.slice(start), line: at };
}

function problemAt(document: Document, message: string, fix: string): Problem {
  return { position: document.positionOf([]), path: '', message, fix };
}
