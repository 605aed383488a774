import { parseDocuments } from '../../../base/schema/index.ts';
import type { Document, Position, Problem } from '../../../base/schema/index.ts';
import { isPreamble } from '../../followed-files/blank-text.ts';

/**
 * Yields the documents of a text one at a time: the parsed form of thousands would take a hundred times the
 * text. Pure.
 */

/** The text from one `---` to the next, with the number of lines before it. */
export interface DocumentText {
  readonly file: string;
  readonly text: string;
  readonly linesBefore: number;
}

/** Far more than the largest service needs. The parsed form takes a hundred times as much. */
const mostBytes = 1024 * 1024;

const separator = /^---(?=\s|$)/gmu;

/** A marker in the first column ends a document anywhere, even in a scalar (YAML 1.2.2, section 9.1.2). */
export function* documentsOf(text: string, file: string): Generator<DocumentText> {
  let [start, linesBefore] = [0, 0];
  for (const { index } of text.matchAll(separator)) {
    if (index === start) continue;
    const part = text.slice(start, index);
    if (isPreamble(part)) continue;
    yield { file, text: part, linesBefore };
    linesBefore += linesIn(part);
    start = index;
  }
  yield { file, text: text.slice(start), linesBefore };
}

function linesIn(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lines += 1;
  return lines;
}

/** Returns no document if the text is empty or has a problem. Positions are positions in the whole text. */
export function parseDocument({ file, text, linesBefore }: DocumentText): {
  readonly documents: readonly Document[];
  readonly problems: readonly Problem[];
} {
  const shifted = (position: Position): Position => ({ ...position, line: position.line + linesBefore });
  const bytes = Buffer.byteLength(text);
  if (bytes > mostBytes) {
    const message = `the document is larger than ${mostBytes} bytes`;
    return {
      documents: [],
      problems: [{ position: shifted({ file, line: 1, column: 1 }), path: '', message }],
    };
  }
  const { documents, problems } = parseDocuments(text, file, { bytes });
  return {
    documents: documents.map((document) => ({
      ...document,
      positionOf: (path, part) => shifted(document.positionOf(path, part)),
    })),
    problems: problems.map((problem) => ({ ...problem, position: shifted(problem.position) })),
  };
}
