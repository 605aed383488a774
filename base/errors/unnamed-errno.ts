/**
 * The errnos of file systems for which libuv has no name, by the code that Node gives them, with the texts of
 * strerror(3).
 */
const unnamed: ReadonlyMap<string, readonly [name: string, text: string]> = new Map([
  ['Unknown system error -74', ['EBADMSG', 'bad message']],
  ['Unknown system error -116', ['ESTALE', 'stale file handle']],
  ['Unknown system error -117', ['EUCLEAN', 'structure needs cleaning']],
  ['Unknown system error -122', ['EDQUOT', 'disk quota exceeded']],
  ['Unknown system error -123', ['ENOMEDIUM', 'no medium found']],
  ['Unknown system error -126', ['ENOKEY', 'required key not available']],
  ['Unknown system error -129', ['EKEYREJECTED', 'key was rejected by service']],
]);

/** Returns the errno name for the code of an error of Node, which may have no name for its number. */
export function nameOfCode(code: string): string {
  return unnamed.get(code)?.[0] ?? code;
}

/** Returns the text for an errno as Node describes it, or as strerror(3) does if Node has no text. */
export function textOfErrno(nodeText: string): string {
  return unnamed.get(nodeText)?.[1] ?? nodeText;
}

/** Returns the message of an error of Node with the name and the text of its errno. */
export function namedMessage(message: string): string {
  return message.replace(/^(Unknown system error -\d+): \1(?=,|$)/u, (whole, code: string) => {
    const found = unnamed.get(code);
    return found === undefined ? whole : found.join(': ');
  });
}
