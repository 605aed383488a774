/**
 * Returns whether brackets, or `- - -` on one line, nest deeper than `limit` anywhere in the text. This check
 * bounds the nesting before a recursive parser runs. It is linear and does not recurse. Brackets in quoted
 * text count too: a document with 64 unclosed ones is not a configuration.
 */
export function flowDepthExceeds(text: string, limit: number): boolean {
  if (new RegExp(`^(?:[ \\t]*[-?:][ \\t]){${limit + 1}}`, 'm').test(text)) return true;
  let depth = 0;
  for (let index = 0; index < text.length; index++) {
    const char = text[index];
    if (char === '[' || char === '{') {
      if (++depth > limit) return true;
    } else if (char === ']' || char === '}') depth = Math.max(0, depth - 1);
    else if (char === '\n' && /^(---|\.\.\.)(\s|$)/.test(text.slice(index + 1, index + 5))) depth = 0;
  }
  return false;
}
