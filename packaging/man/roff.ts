/** Heading of a page: `.TH` of man(7). */
export interface PageHeading {
  readonly name: string;
  readonly section: 1 | 5 | 8;
  /** Day of the release, as YYYY-MM-DD. */
  readonly date: string;
  /** Version of the package. */
  readonly version: string;
}

/**
 * Escapes text for roff: hyphens stay the ASCII ones that a reader can copy, quotes are not curled, and no
 * line starts a request. Other characters are written by their code, so a page is ASCII in every locale.
 */
export function roff(text: string): string {
  return text
    .replaceAll('\\', String.raw`\e`)
    .replaceAll('…', '...')
    .replaceAll('-', String.raw`\-`)
    .replaceAll("'", String.raw`\(aq`)
    .replaceAll('`', String.raw`\(ga`)
    .replaceAll('^', String.raw`\(ha`)
    .replaceAll('~', String.raw`\(ti`)
    .replaceAll(
      /[^\n -~]/gu,
      (one) => `\\[u${(one.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
    .replaceAll(/^\./gmu, String.raw`\&.`);
}

/** Escapes prose in which words in backquotes are literal: those become bold. */
export function prose(text: string): string {
  return text
    .split(/(`[^`]+`)/u)
    .map((part) => (part.startsWith('`') && part.length > 1 ? bold(part.slice(1, -1)) : roff(part)))
    .join('');
}

export function bold(text: string): string {
  return `\\fB${roff(text)}\\fR`;
}

export function italic(text: string): string {
  return `\\fI${roff(text)}\\fR`;
}

/** Returns lines that are shown as they are, with their spaces. */
export function literal(lines: readonly string[]): string {
  return ['.nf', ...lines.map((line) => (line === '' ? '.sp' : roff(line))), '.fi'].join('\n');
}

export function heading({ name, section, date, version }: PageHeading): string {
  return `.TH ${name.toUpperCase()} ${section} ${date} "portcullis ${version}" Portcullis\n.nh\n.\\" Written from the commands' descriptions: packaging/man.`;
}
