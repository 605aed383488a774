import { formatPath } from './path.ts';
import type { Document, PathSegment, Problem } from './types.ts';

/** Returns a problem at a path of a document's value. */
export function problemAt(
  document: Document,
  path: readonly PathSegment[],
  message: string,
  fix?: string,
  part: 'key' | 'value' = 'value',
): Problem {
  const written = document.writtenPath?.(path) ?? path;
  return {
    position: document.positionOf(path, part),
    path: formatPath(written),
    message,
    ...(fix === undefined ? {} : { fix }),
  };
}

/** Sorts problems by file, line and column, without duplicates: two checks can report the same problem. */
export function sortProblems(problems: readonly Problem[]): Problem[] {
  const key = ({ position, message }: Problem): string =>
    `${position.file}\0${position.line}:${position.column}\0${message}`;
  const unique = new Map<string, Problem>();
  for (const problem of problems) {
    const known = unique.get(key(problem));
    // A problem that hides others must not be replaced by its copy that hides none.
    if (known === undefined || problem.hidesOthers === true) unique.set(key(problem), problem);
  }
  return [...unique.values()].sort(
    (a, b) =>
      a.position.file.localeCompare(b.position.file) ||
      a.position.line - b.position.line ||
      a.position.column - b.position.column,
  );
}
