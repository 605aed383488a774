import type { Problem } from './types.ts';

/** The maximum number of problems that a message for people lists. A reader fixes the first ones first. */
const mostListed = 50;

/** Formats one line per problem: `policy.yaml:3:5: rules[0].imagess: unknown field …; did you mean …?` */
export function formatProblems(problems: readonly Problem[]): string {
  return problems
    .map(({ position, path, message, fix, unread }) => {
      const place =
        unread === true || position.line === 0
          ? position.file
          : `${position.file}:${position.line}:${position.column}`;
      return `${place}: ${path === '' ? '' : `${path}: `}${message}${fix === undefined ? '' : `; ${fix}`}`;
    })
    .join('\n');
}

/**
 * Formats the first 50 problems, one line each. Further lines say how many problems are not listed, and that
 * more may follow where a problem kept the code from checking a part of a file that was read. Each line ends
 * with a newline.
 */
export function listProblems(problems: readonly Problem[]): string {
  const left = problems.length - mostListed;
  const lines = [
    ...(problems.length === 0 ? [] : [formatProblems(problems.slice(0, mostListed))]),
    ...(left > 0
      ? [`${left} more problem${left === 1 ? ' is' : 's are'} not listed: correct these first`]
      : []),
    ...(problems.some(({ hidesOthers, unread }) => hidesOthers === true && unread !== true)
      ? ['more problems may follow: parts that have a problem were not checked completely']
      : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** Formats problems as the reason of an error: `2 problems:`, and then the lines of {@link listProblems}. */
export function describeProblems(problems: readonly Problem[]): string {
  return `${problems.length} problem${problems.length === 1 ? '' : 's'}:\n${listProblems(problems)}`;
}
