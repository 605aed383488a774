import type { SetupFile } from './plan.ts';

/** Longer files, such as a schema, are summarised. */
const longestShown = 60;

/** Returns the plan as text: each new file with its content, then the files that are kept. */
export function formatPlan(files: readonly SetupFile[]): string {
  const created = files.filter(({ state }) => state === 'new');
  const kept = files.filter(({ state }) => state === 'kept');
  return [
    created.length === 0
      ? 'nothing to write\n'
      : `to write: ${created.length} file${created.length === 1 ? '' : 's'}\n`,
    ...created.map(
      (file) => `\n${file.path}   (${file.purpose}, mode ${file.mode})\n${indented(contentOf(file))}`,
    ),
    ...(kept.length === 0 ? [] : ['\nkept as they are:\n', ...kept.map(line)]),
  ].join('');
}

/** Returns what was done, one file per line. */
export function formatResult(files: readonly SetupFile[], next: readonly string[]): string {
  return [...files.map(line), ...next.map((each) => `next     ${each}\n`)].join('');
}

const line = ({ state, path, purpose, note }: SetupFile): string =>
  `${state.padEnd(8)} ${path}   (${purpose}${state === 'kept' && note !== undefined ? `: ${note}` : ''})\n`;

function contentOf({ content, note = '' }: SetupFile): string {
  if (content === undefined) return `(${note})\n`;
  const lines = content.split('\n').length - 1;
  return lines <= longestShown ? content : `(${lines} lines: --dry-run --output json shows them)\n`;
}

const indented = (text: string): string => text.replaceAll(/^(?=.)/gmu, '    ');
