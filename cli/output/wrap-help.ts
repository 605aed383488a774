import { Help } from 'commander';

/**
 * Wraps the parts of a help text that have lines of more than `width` columns and that commander does not
 * wrap:
 *
 * - Paragraphs. `Exit status:` begins a new one.
 * - Examples, which begin with `$`: a command is continued on the next line before an option or a pipe that
 *   is not in quotes, and the remarks of all examples in the block are moved above their commands.
 *
 * A remark behind an example gets a `#`, so that the line can be copied into a shell.
 *
 * Other indented lines, such as tables, stay as they are, and so does everything on a terminal that is too
 * narrow or reports no width.
 */
export function wrapHelp(text: string, width: number): string {
  if (width < 40) return text;
  const isLong = (lines: readonly string[]): boolean => lines.some((line) => line.length > width);
  return blocksOf(text.replaceAll(remarked, '$<example># $<remark>').split('\n'))
    .flatMap((lines) => {
      if (!isLong(lines)) return lines;
      if (lines[0]?.startsWith(' ') === true) return lines.flatMap((line) => wrapExample(line, width));
      return new Help().boxWrap(lines.join(' '), width);
    })
    .join('\n');
}

/** Groups lines: paragraphs, and runs of indented lines. An empty line is a group. */
function blocksOf(lines: readonly string[]): string[][] {
  const blocks: string[][] = [];
  for (const line of lines) {
    const block = blocks.at(-1);
    const before = block?.at(-1) ?? '';
    const continues =
      before !== '' &&
      line !== '' &&
      before.startsWith(' ') === line.startsWith(' ') &&
      !line.startsWith('Exit status:');
    if (continues) block?.push(line);
    else blocks.push([line]);
  }
  return blocks;
}

/** An example with a remark. */
const remarked = /^(?<example> +\$ .*?\S {2,})(?<remark>[^\s#].*)$/gmu;
/** The space before an option or a pipe, unless it is in quotes. */
const breaks = / (?=(?:--|\| )(?:[^']*'[^']*')*[^']*$)/u;

function wrapExample(line: string, width: number): string[] {
  const [, indent, command, remark] = /^( +)\$ (.*?)(?: {2,}# (.*))?$/u.exec(line) ?? [];
  if (indent === undefined || command === undefined) return [line];
  const lines: string[] = [];
  for (const part of `${indent}$ ${command}`.split(breaks)) {
    const last = lines.at(-1);
    if (last !== undefined && `${last} ${part} \\`.length <= width) lines.splice(-1, 1, `${last} ${part}`);
    else lines.push(last === undefined ? part : `${indent}    ${part}`);
  }
  return [
    ...(remark === undefined ? [] : [`${indent}# ${remark}`]),
    ...lines.map((part, index) => (index < lines.length - 1 ? `${part} \\` : part)),
  ];
}
