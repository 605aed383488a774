import type { Problem } from './types.ts';

/** Formats one line per problem: `policy.yaml:3:5: rules[0].imagess: unknown field …; did you mean …?` */
export function formatProblems(problems: readonly Problem[]): string {
  return problems
    .map(({ position, path, message, fix }) => {
      const place = `${position.file}:${position.line}:${position.column}`;
      return `${place}: ${path === '' ? '' : `${path}: `}${message}${fix === undefined ? '' : `; ${fix}`}`;
    })
    .join('\n');
}
