/**
 * Whether brackets, or `- - -` on one line, nest deeper than `limit` anywhere in the text: a bound before a recursive parser sees it.
 * Linear, without recursion. Brackets in quoted text count too: 64 unclosed ones in one document are no configuration.
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
