/**
 * Whether brackets or leading indicators nest deeper than `limit` anywhere in the text. An over-estimate would refuse good files, so quoted text
 * and comments are skipped; an under-estimate is caught after parsing. Linear, without recursion.
 */
export function flowDepthExceeds(text: string, limit: number): boolean {
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
