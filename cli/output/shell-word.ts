/** Returns a word as a POSIX shell reads it: in single quotes if it has other characters than plain names. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
