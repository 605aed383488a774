/**
 * Reports whether a path is a folder or lies below it. Compares the text only: both paths must be free of
 * `.`, `..` and double slashes. Pure.
 */
export function isAtOrBelow(path: string, folder: string): boolean {
  return path === folder || folder === '/' || path.startsWith(`${folder}/`);
}
