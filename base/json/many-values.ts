import { endOfString, quote } from './strings.ts';

const [comma, openBracket, openBrace] = [0x2c, 0x5b, 0x7b];

/**
 * Reports whether a JSON text may have more than `most` values, in one pass that makes none of them. A value
 * can have two characters, and about a hundred bytes in memory. A text that is not JSON may count as one with
 * more or fewer values.
 */
export function hasManyValues(text: string, most: number): boolean {
  let values = 1;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at);
    else if (code === comma || code === openBracket || code === openBrace) {
      values += 1;
      if (values > most) return true;
    }
  }
  return false;
}
