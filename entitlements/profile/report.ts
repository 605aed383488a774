import { formatPath } from '../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';

/** Takes a problem at a place of a document. */
export type Report = (path: readonly PathSegment[], message: string, fix: string, part?: 'value' | 'key') => void;

/** Problems of one document, gathered. */
export function reporter(document: Document): { readonly report: Report; readonly problems: Problem[] } {
  const problems: Problem[] = [];
  return {
    problems,
    report: (path, message, fix, part = 'value') => {
      problems.push({ position: document.positionOf(path, part), path: formatPath(path), message, fix });
    },
  };
}
