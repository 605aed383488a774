import { stripVTControlCharacters, styleText } from 'node:util';
import type { Command } from 'commander';
import { eastAsianWidth } from 'get-east-asian-width';

/** A terminal narrower than this gets lines of this width. */
const leastWidth = 40;

export interface Paper {
  readonly write: (text: string) => void;
  /** A terminal: shows a running step before it is done, and uses colours. */
  readonly live: boolean;
  readonly colour: boolean;
  readonly unicode: boolean;
  readonly width: number;
}

/**
 * Returns how to write to this stream: colours on a terminal unless NO_COLOR is set; ASCII marks where the
 * locale has no UTF-8.
 */
export function paperFor(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): Paper {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  const live = stream.isTTY && env['TERM'] !== 'dumb';
  return {
    write: (text) => void stream.write(text),
    live,
    colour: live && (env['NO_COLOR'] ?? '') === '',
    unicode: !stream.isTTY || /utf-?8/i.test(locale),
    // A serial console may report no columns at all.
    width: Math.min(stream.isTTY ? Math.max(leastWidth, stream.columns || 100) : 100, 100),
  };
}

let wide = false;

/** Adds `--wide`, the option of commands that print tables or reasons. */
export function withWide(command: Command): Command {
  command.option('--wide', 'on a terminal: print long lines and whole digests, without colour');
  return command.on('option:wide', () => {
    wide = true;
  });
}

export type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow';

/** Returns a function that styles text if `colour` is true, and otherwise returns the text unchanged. */
export function painter(colour: boolean): (style: Style, text: string) => string {
  return (style, text) => (colour ? styleText(style, text, { validateStream: false }) : text);
}

/** How a result is fitted to its reader. */
export interface Fit {
  /** Columns of a line; infinite where the reader is a program. */
  readonly width: number;
  readonly colour: boolean;
}

/**
 * Returns the fit for standard output: the terminal's, or nothing is changed for a program and with `--wide`.
 */
export function outputFit(): Fit {
  const { isTTY, columns } = process.stdout as { readonly isTTY?: boolean; readonly columns?: number };
  if (wide || isTTY !== true || columns === undefined || columns === 0)
    return { width: Number.POSITIVE_INFINITY, colour: false };
  return { width: Math.max(leastWidth, columns), colour: paperFor(process.stdout, process.env).colour };
}

/** Characters that take no column of their own. */
const joined = /[\p{Mn}\p{Me}\p{Cf}]/u;
/** Terminals show these as pictures of two columns (Unicode UTS #51). */
const pictures = /\p{Emoji_Presentation}/u;

function columnsOf(character: string): number {
  if (joined.test(character)) return 0;
  return pictures.test(character) ? 2 : eastAsianWidth(character.codePointAt(0) ?? 0);
}

/** Returns the number of terminal columns that a line takes. Colours take none. */
export function textWidth(text: string): number {
  // Most texts are ASCII.
  if (/^[\x20-\x7e]*$/u.test(text)) return text.length;
  let width = 0;
  for (const character of stripVTControlCharacters(text)) width += columnsOf(character);
  return width;
}

/**
 * Splits a text into pieces of at most `width` columns, behind a space, comma, slash or colon where there is
 * one. Spaces at which a text is split are omitted.
 */
export function pieces(text: string, width: number): readonly string[] {
  const found: string[] = [];
  let piece = '';
  let columns = 0;
  for (const character of text) {
    const more = columnsOf(character);
    if (columns + more > width && piece !== '') {
      const [, kept = piece, rest = ''] = /^(.*[ ,/:@])([^ ,/:@]*)$/su.exec(piece) ?? [];
      if (kept.trim() !== '') found.push(kept.trimEnd());
      piece = rest;
      columns = textWidth(piece);
    }
    if (character === ' ' && piece === '') continue;
    piece += character;
    columns += more;
  }
  return [...found, piece];
}

/** Shortens digests to `sha256:` and twelve digits: enough to compare by eye. */
export function shortenDigests(text: string): string {
  return text.replace(/\b(sha256[:-][0-9a-f]{12})[0-9a-f]{52}\b/g, '$1…');
}

/**
 * Wraps text at spaces to lines of at most `width` columns. Continued lines are indented four spaces deeper.
 */
export function wrap(text: string, width: number): string[] {
  const indent = ' '.repeat(text.length - text.trimStart().length);
  const lines: string[] = [];
  let line = indent;
  for (const word of text.trimStart().split(' ')) {
    const begun = line.trim() !== '';
    if (begun && textWidth(line) + 1 + textWidth(word) > width) {
      lines.push(line);
      line = `${indent}    ${word}`;
    } else line += begun ? ` ${word}` : word;
  }
  return [...lines, line];
}

/**
 * Fits a tree of reasons (`+ counted`, `- did not count`) to its reader: on a terminal short digests, lines
 * of its width, and colours. For a program, nothing is changed.
 */
export function tree(text: string, { width, colour }: Fit = outputFit()): string {
  if (width === Number.POSITIVE_INFINITY) return text;
  const paint = painter(colour);
  return text
    .split('\n')
    .flatMap((line) => {
      const mark = /^ *([+-]) /u.exec(line)?.[1];
      const parts = wrap(shortenDigests(line), width);
      if (mark === undefined) return parts;
      const [first = '', ...rest] = parts;
      return [first.replace(mark, paint(mark === '+' ? 'green' : 'red', mark)), ...rest];
    })
    .join('\n');
}
