import { parseJson } from '../../../base/json/index.ts';
import { PortcullisError } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import { describeProblems, formatPath, parseDocuments } from '../../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../../base/schema/index.ts';
import { parseStrictJson, recordOf } from '../../json/strict-json.ts';

export type Json = Readonly<Record<string, unknown>>;

/** A file that is read strictly: all mistakes are collected, each with its position. */
export interface Source {
  readonly value: unknown;
  readonly file: string;
  readonly problems: Problem[];
  placeOf(path: readonly PathSegment[]): { readonly line: number; readonly column: number };
  report(path: readonly PathSegment[], message: string, fix: string): void;
  /** Returns the record at `path`, which may have only the fields of `known`. Reports anything else. */
  record(value: unknown, path: readonly PathSegment[], known: readonly string[]): Json | undefined;
}

/** Parses JSON as strictly as the containers image library: one object, no duplicate keys. */
export function readJsonSource(text: string, file: string): Source {
  // JSON allows tabs between tokens. The YAML parser, which knows the positions, does not, so each tab is
  // replaced by a blank, which keeps the columns.
  const { documents, problems } = parseDocuments(text.replaceAll('\t', ' '), file);
  try {
    return createSource(parseStrictJson(Buffer.from(text)), file, documents[0]);
  } catch (error) {
    const source = createSource(undefined, file, undefined);
    const { message } = error as Error;
    const at = / at position (\d+)/.exec(jsonComplaint(text))?.[1];
    const position =
      at === undefined ? (problems[0]?.position ?? { line: 1, column: 1 }) : lineOf(text, Number(at));
    source.problems.push({
      position: { file, line: position.line, column: position.column },
      path: '',
      message,
      fix: 'correct the JSON',
    });
    return source;
  }
}

/** Parses YAML. An empty file is an empty mapping. */
export function readYamlSource(text: string, file: string): Source {
  const { documents, problems } = parseDocuments(text, file);
  const source = createSource(documents.length === 0 ? {} : documents[0]?.value, file, documents[0]);
  append(source.problems, problems);
  return source;
}

function createSource(value: unknown, file: string, document: Document | undefined): Source {
  const problems: Problem[] = [];
  const placeOf = (path: readonly PathSegment[]) => document?.positionOf(path) ?? { line: 1, column: 1 };
  const report = (path: readonly PathSegment[], message: string, fix: string): void => {
    const { line, column } = placeOf(path);
    problems.push({ position: { file, line, column }, path: formatPath(path), message, fix });
  };
  return {
    value,
    file,
    problems,
    placeOf,
    report,
    record(part, path, known) {
      const record = recordOf(part);
      if (record === undefined) {
        report(path, 'this is not an object', `write an object with ${known.join(', ')}`);
        return undefined;
      }
      for (const key of Object.keys(record))
        if (!known.includes(key))
          report(
            [...path, key],
            `\`${key.slice(0, 100)}\` is not a known field here`,
            `the known fields are: ${known.join(', ')}`,
          );
      return record;
    },
  };
}

/**
 * Throws when a source has problems.
 * @throws PortcullisError `TRUST_IMPORT_INVALID` with all of them
 */
export function refuseProblems(sources: readonly Source[]): void {
  const problems = sources.flatMap((source) => source.problems);
  if (problems.length === 0) return;
  throw new PortcullisError({
    code: 'TRUST_IMPORT_INVALID',
    kind: 'invalid',
    attempted: 'import containers policy',
    on: [...new Set(problems.map(({ position }) => position.file))].join(', '),
    why: describeProblems(problems),
    fix: 'correct the lines named: podman and CRI-O refuse such a file, too',
    details: { problems },
  });
}

function jsonComplaint(text: string): string {
  try {
    parseJson(text);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

function lineOf(text: string, offset: number): { readonly line: number; readonly column: number } {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}
