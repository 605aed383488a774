import { sep } from 'node:path';

/** Whether an absolute path is the folder, or below it, by its text. */
export const isWithin = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder.endsWith(sep) ? folder : `${folder}${sep}`);
