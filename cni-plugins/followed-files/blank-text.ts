/** A line with nothing but a marker, a directive and a comment, as far as it has any. */
const blankLine = /^[^\S\n]*(?:(?:---|\.\.\.)[^\S\n]*)?(?:[%#][^\n]*)?$/u;
/** A line with nothing but a directive or a comment. */
const preambleLine = /^[^\S\n]*(?:[%#][^\n]*)?$/u;

/** Nothing but comments, directives and markers of YAML. */
export const isBlankText = (text: string): boolean => everyLine(text, blankLine);

/** Whole lines with nothing but comments and directives: they belong to the document after them. */
export const isPreamble = (text: string): boolean => (text === '' || text.endsWith('\n')) && everyLine(text, preambleLine);

/** Line by line: an expression over all of them keeps a place for each, and some millions are more than an engine has room for. */
function everyLine(text: string, expected: RegExp): boolean {
  for (let start = 0; start <= text.length;) {
    const end = text.indexOf('\n', start);
    if (!expected.test(text.slice(start, end === -1 ? undefined : end))) return false;
    if (end === -1) return true;
    start = end + 1;
  }
  return true;
}
