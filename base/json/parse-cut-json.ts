import { maxJsonDepth, parseJson } from './parse-json.ts';
import { endOfString, quote } from './strings.ts';

/**
 * Parses JSON like {@link parseJson}, but an object or array that is nested deeper than 128 levels counts as
 * null. For texts of which other parts must stay readable: anyone who may write an object of the Kubernetes
 * API can nest a part of it that nobody reads, such as `metadata.managedFields`.
 * @throws SyntaxError when the text is not JSON
 */
export function parseCutJson(text: string): unknown {
  try {
    return parseJson(text);
  } catch (thrown) {
    const cut = cutAt(text, maxJsonDepth);
    if (cut === undefined) throw thrown;
    return parseJson(cut);
  }
}

const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Returns the text with null in place of each value that is too deep, or undefined if there is none. */
function cutAt(text: string, most: number): string | undefined {
  const parts: string[] = [];
  let [depth, from] = [0, 0];
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at);
    else if (code === openBracket || code === openBrace) {
      depth += 1;
      if (depth === most + 1) parts.push(text.slice(from, at), 'null');
    } else if (code === closeBracket || code === closeBrace) {
      depth -= 1;
      if (depth === most) from = at + 1;
    }
  }
  if (parts.length === 0) return undefined;
  // A value without an end keeps the text invalid.
  return depth > most ? undefined : parts.join('') + text.slice(from);
}
