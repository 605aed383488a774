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
 * Makes text of several lines printable, which may be coloured. Colours, line ends and tabs pass; other
 * control sequences do not.
 */
export function printableText(text: string): string {
  return text.replace(/\u001b\[\d{0,3}m|[\n\t]|[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (found) =>
    found.length > 1 || found === '\n' || found === '\t' ? found : '?',
  );
}
