/** Controls, format characters that turn the direction of text, and what ends lines. Names come from registries, pods and delegates. */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** One cell or line: no control character of others reaches a terminal. */
export function printable(text: string): string {
  return text.replace(unprintable, '?');
}

/** Of text of several lines, which may be coloured: colours, line ends and tabs are let through, and nothing else that a terminal would obey. */
export function printableText(text: string): string {
  return text.replace(/\u001b\[\d{0,3}m|[\n\t]|[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (found) =>
    found.length > 1 || found === '\n' || found === '\t' ? found : '?',
  );
}
