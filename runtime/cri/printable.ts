/** Control characters, line separators, and characters that change the direction of text. */
const unprintable = /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Escapes what a terminal would act on, except line feeds and tabs: messages quote commands and names of
 * tenants, and clients show them in events and logs.
 */
export function printableMessage(text: string): string {
  return text.replace(unprintable, (found) =>
    found === '\n' || found === '\t' ? found : `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
