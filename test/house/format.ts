import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(import.meta.dirname, '../..');

/**
 * Returns a text in the form that the gate `format` wants for this file.
 * @throws Error when the text is not valid in the file's language
 */
export function formatted(file: URL, text: string): string {
  const oxfmt = join(root, 'node_modules/.bin/oxfmt');
  return execFileSync(process.execPath, [oxfmt, '--stdin-filepath', fileURLToPath(file)], {
    cwd: root,
    input: text,
    encoding: 'utf8',
  });
}
