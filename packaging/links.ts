import { posix } from 'node:path';

/**
 * A link of a Markdown document to a file, or an image: not to a URL, and not to a heading of the same
 * document.
 */
const link = /!?\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)\s]*)?\)/gu;

/**
 * Returns the paths that the links of a document point to, relative to the folder that `file` is relative to.
 */
export function linkedFiles(file: string, text: string): string[] {
  return [...text.matchAll(link)].map(([, , target = '']) => posix.join(posix.dirname(file), target));
}

/**
 * Replaces each link to a file that does not exist in the package by its text and the path of the file in the
 * source repository. A document with such a link says so at its end.
 * @param file the path of the document in the package
 * @param exists whether the package contains a path
 */
export function withoutMissingLinks(file: string, text: string, exists: (path: string) => boolean): string {
  const kept = text.replaceAll(link, (whole: string, label: string, target: string) => {
    const path = posix.join(posix.dirname(file), target);
    if (exists(path)) return whole;
    return label.includes(path) ? label : `${label} (\`${path}\`)`;
  });
  if (kept === text) return text;
  return `${kept.trimEnd()}\n\n---\n\nPaths without a link are files of the source repository, which this package does not contain.\n`;
}
