import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileReason, PortcullisError } from '../../base/errors/index.ts';
import type { Answer } from './answer.ts';

const files = {
  '/': { name: 'index.html', type: 'text/html; charset=utf-8' },
  '/console.js': { name: 'console.js', type: 'text/javascript; charset=utf-8' },
  '/console.css': { name: 'console.css', type: 'text/css; charset=utf-8' },
} as const;

/** The page runs only its own files, connects only to its own origin, and cannot be shown in a frame. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

/**
 * Reads the files of the console. They contain no data, and are served without a token.
 * @returns the answers by path
 * @throws PortcullisError FLEET_CONSOLE
 */
export async function readConsole(folder: string): Promise<ReadonlyMap<string, Answer>> {
  const answers = new Map<string, Answer>([['/favicon.ico', { status: 204, headers: {}, body: '' }]]);
  for (const [path, { name, type }] of Object.entries(files)) {
    const file = join(folder, name);
    try {
      answers.set(path, {
        status: 200,
        headers: {
          'Content-Type': type,
          'Content-Security-Policy': contentSecurityPolicy,
          'Referrer-Policy': 'no-referrer',
          'Cross-Origin-Opener-Policy': 'same-origin',
          'Cross-Origin-Resource-Policy': 'same-origin',
        },
        body: await readFile(file),
      });
    } catch (cause) {
      throw new PortcullisError({
        code: 'FLEET_CONSOLE',
        kind: 'precondition',
        attempted: 'read the console',
        on: file,
        why: fileReason(cause, file),
        fix: 'build the console (npm run build), or serve without it (--no-console)',
        cause,
      });
    }
  }
  return answers;
}
