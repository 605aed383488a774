import type { Problem } from './types.ts';

/**
 * Returns the text of a file, or a problem if it is not UTF-8. A decoder that replaces the wrong bytes would
 * give other values than the author wrote, such as the path of another folder.
 */
export function textOf(file: string, bytes: Uint8Array): { readonly text: string } | Problem {
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    const position = { file, line: 1, column: 1 };
    return {
      position,
      path: '',
      message: 'the file is not UTF-8',
      fix: 'save it as UTF-8',
      hidesOthers: true,
    };
  }
}
