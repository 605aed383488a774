/** Whether a path is a folder or lies below it, by their texts: both without `.`, `..` and double slashes. Pure. */
export function isAtOrBelow(path: string, folder: string): boolean {
  return path === folder || folder === '/' || path.startsWith(`${folder}/`);
}
