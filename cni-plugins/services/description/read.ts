import { append } from '../../../base/lists/index.ts';
import { formatProblems, problemAt, sortProblems, validateParts } from '../../../base/schema/index.ts';
import type { Document, Position, Problem } from '../../../base/schema/index.ts';
import type { Service } from '../model/model.ts';
import type { FileResult, SourceText } from '../../followed-files/messages.ts';
import { isBlankText } from '../../followed-files/blank-text.ts';
import { documentsOf, parseDocument } from './documents.ts';
import type { DocumentText } from './documents.ts';
import { writtenField } from './short-forms.ts';
import { serviceSchema } from './schema.ts';
import { serviceOf } from './service-fields.ts';
import type { Path, Report, WrittenService } from './service-fields.ts';
import { tooLarge } from './source-text.ts';

/** Reads the texts of files into services, and reports every problem of all files at once. Pure. */

export type { SourceText };

/** A service, and where it was written. Plain values, because they cross threads. */
export interface Described {
  readonly service: Service;
  readonly written: Written;
}

/** The position of a document in a text. */
export interface Written {
  readonly text: DocumentText;
  readonly index: number;
}

/** The services of one file. */
export interface FileServices {
  readonly described: readonly Described[];
}

export interface Reading {
  /** Services of documents without a problem, in the order of the files. */
  readonly described: readonly Described[];
  readonly problems: readonly Problem[];
}

/** The most documents of all files together. */
const mostDocuments = 50_000;
/** Limits a report: a reader fixes the first problems first. */
const mostProblems = 1000;

const emptyFix = 'to remove its services, remove the file';

/**
 * Reads one file of a followed folder, as a whole or not at all. A file that is empty or cut off may be half
 * written.
 */
export function readServiceFile({ file, text }: SourceText): FileResult<FileServices> {
  const problem = (line: number, message: string): Problem => ({
    position: { file, line, column: 1 },
    path: '',
    message,
    fix: emptyFix,
  });
  const documents = [...documentsOf(text, file)];
  if (documents.every((document) => isBlankText(document.text)))
    return { unreadable: linesOf([problem(1, 'the file is empty')]), isEmpty: true };
  const last = documents.length - 1;
  const empty = documents.filter(
    // A separator after the last document is customary, and a chart template that is switched off leaves a
    // comment.
    (document, index) => index < last && isBlankText(document.text) && !document.text.includes('#'),
  );
  const { described, problems } = readServices([{ file, text }]);
  const found = [
    ...empty.map(({ linesBefore }) => problem(linesBefore + 1, 'the document is empty')),
    ...problems,
  ];
  return found.length > 0 ? { unreadable: linesOf(found) } : { described };
}

/**
 * Reads texts of `kind: Service` documents. A document with a problem is left out, and so is a second service
 * with the same name. Never throws.
 */
export function readServices(sources: Iterable<SourceText>): Reading {
  const described: Described[] = [];
  const problems: Problem[] = [];
  const names = new Map<string, Position>();
  let [documents, unshown, last] = [0, 0, ''];
  for (const { file, text } of sources) {
    last = file;
    const large = tooLarge(file, Buffer.byteLength(text));
    if (large !== undefined) problems.push(large);
    for (const document of large === undefined ? documentsOf(text, file) : []) {
      documents += 1;
      const line = document.linesBefore + 1;
      if (documents > mostDocuments) {
        const message = `there are more than ${mostDocuments} documents: the remaining documents are not read`;
        const problem: Problem = {
          position: { file, line, column: 1 },
          path: '',
          message,
          fix: 'remove some of them',
          hidesOthers: true,
        };
        return { described, problems: [...problems, problem] };
      }
      const read = readDocument(document, names);
      if (problems.length < mostProblems) append(problems, read.problems);
      else unshown += read.problems.length;
      append(described, read.described);
    }
  }
  if (unshown > 0)
    problems.push({
      position: { file: last, line: 1, column: 1 },
      path: '',
      message: `${unshown} more problems are not shown`,
      fix: 'fix the reported problems first',
      hidesOthers: true,
    });
  return { described, problems };
}

/** @param names the position of each service; the services of the document are added */
function readDocument(text: DocumentText, names: Map<string, Position>): Reading {
  const parsed = parseDocument(text);
  const problems: Problem[] = [...parsed.problems];
  const described: Described[] = [];
  for (const [index, document] of parsed.documents.entries()) {
    const { problems: found, rest } = validateParts(document, serviceSchema);
    if (rest === undefined) {
      append(problems, found);
      continue;
    }
    const own: Problem[] = [];
    const report: Report = (path, message, fix) => own.push(problemAt(rest, path, message, fix));
    const service = serviceOf(
      rest.value as WrittenService,
      report,
      found.length === 0 ? report : () => undefined,
    );
    const before = names.get(service.name);
    if (before !== undefined)
      report(
        ['metadata', 'name'],
        `the service ${service.name} occurs twice, first at ${before.file}:${before.line}`,
        'remove or rename one of them',
      );
    append(problems, sortProblems([...found, ...own]));
    if (found.length + own.length > 0) continue;
    names.set(service.name, document.positionOf(['metadata', 'name']));
    described.push({ service, written: { text, index } });
  }
  return { described, problems };
}

/**
 * Returns the position of a field of {@link Service} or of the description, or of the document if no field is
 * given. It parses the document again, for the few positions that are needed: the parsed form takes a hundred
 * times the text.
 */
export function positionIn({ text, index }: Written, field?: string): Position {
  const document = parseDocument(text).documents[index];
  return (
    document?.positionOf(writtenPath(document, field)) ?? {
      file: text.file,
      line: text.linesBefore + 1,
      column: 1,
    }
  );
}

/** Returns problems as lines of text: `web.yaml:3:5: …`. */
export const linesOf = (problems: readonly Problem[]): string[] =>
  problems.length === 0 ? [] : formatProblems(problems).split('\n');

/** Where to find a field that is not at the top level of a description. */
const writtenIn: Readonly<Record<string, string>> = { name: 'metadata', nodePort: 'ports' };

function writtenPath({ value }: Document, field: string | undefined): Path {
  if (field === undefined) return [];
  const [first = '', ...rest] = writtenField(field).split('.');
  const name = writtenIn[first] ?? first;
  const has = typeof value === 'object' && value !== null && name in value;
  return has ? [name, ...rest.map((segment) => (/^\d+$/u.test(segment) ? Number(segment) : segment))] : [];
}
