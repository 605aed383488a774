/** Matches a line with nothing but an optional marker, directive or comment. */
const blankLine = /^[^\S\n]*(?:(?:---|\.\.\.)[^\S\n]*)?(?:[%#][^\n]*)?$/u;
/** Matches a line with nothing but an optional directive or comment. */
const preambleLine = /^[^\S\n]*(?:[%#][^\n]*)?$/u;

/** Returns whether the text has nothing but comments, directives and YAML markers. */
export const isBlankText = (text: string): boolean => everyLine(text, blankLine);

/**
 * Returns whether the text is whole lines with nothing but comments and directives. These lines belong to the
 * document that follows them.
 */
export const isPreamble = (text: string): boolean =>
  (text === '' || text.endsWith('\n')) && everyLine(text, preambleLine);

/**
 * Tests line by line. One expression over the whole text keeps state for each line, and some millions of
 * lines exceed what the JavaScript engine can hold.
 */
function everyLine(text: string, expected: RegExp): boolean {
  for (let start = 0; start <= text.length;) {
    const end = text.indexOf('\n', start);
    if (!expected.test(text.slice(start, end === -1 ? undefined : end))) return false;
    if (end === -1) return true;
    start = end + 1;
  }
  return true;
}
