import { problemAt } from '../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';

/** Reports a problem at a position of a document. */
export type Report = (
  path: readonly PathSegment[],
  message: string,
  fix: string,
  part?: 'value' | 'key',
) => void;

/** Collects the problems of one document. */
export function reporter(document: Document): { readonly report: Report; readonly problems: Problem[] } {
  const problems: Problem[] = [];
  return {
    problems,
    report: (path, message, fix, part = 'value') => {
      problems.push(problemAt(document, path, message, fix, part));
    },
  };
}
