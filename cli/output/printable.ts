/**
 * Control characters, format characters that change the direction of text, and line separators. Names come
 * from registries, pods and delegates.
 */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Makes one cell or line printable: control characters from external names never reach a terminal. */
export function printable(text: string): string {
  return text.replace(unprintable, '?');
}

/**
 * Makes text of several lines printable, which may be coloured. Line ends, tabs and the styles of `painter`
 * pass. Other control sequences do not: some of them hide the text that follows.
 */
export function printableText(text: string): string {
  return text.replace(/\u001b\[(?:[012]|22|3[1239])?m|[\n\t]|[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (found) =>
    found.length > 1 || found === '\n' || found === '\t' ? found : '?',
  );
}

/** Makes text of several lines printable, such as an error. Line ends and tabs pass, and no colours. */
export function printableLines(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/gu, '?');
}
