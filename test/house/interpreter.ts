import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Returns a PATH in which the Python interpreter itself comes first, if the program that PATH names is a
 * wrapper. Wrappers such as pyenv's start 15 shells for each call, which cost three times the processor time
 * of the interpreter, and some tests call Python a hundred times.
 * @param name the program: `python3`
 * @returns `path`, and `remove`, which removes the folder that `path` begins with. Without the interpreter
 *   or a wrapper, `path` is the given one
 */
export function interpreterFirst(
  name: string,
  path: string,
): { readonly path: string; readonly remove: () => void } {
  const unchanged = { path, remove: () => undefined };
  const show = 'import sys; print(sys.executable)';
  const env = { ...process.env, PATH: path };
  const answer = spawnSync(name, ['-c', show], { env, encoding: 'utf8', timeout: 20_000 });
  const found = spawnSync('sh', ['-c', `command -v ${name}`], { env, encoding: 'utf8' });
  if (answer.status !== 0 || found.status !== 0) return unchanged;
  const interpreter = answer.stdout.trim();
  if (realpathSync(found.stdout.trim()) === realpathSync(interpreter)) return unchanged;
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-interpreter-'));
  // Through a symlink, Python would not find the packages of a virtual environment.
  const text = `#!/bin/sh\nexec '${interpreter.replaceAll("'", String.raw`'\''`)}' "$@"\n`;
  writeFileSync(join(folder, name), text, { mode: 0o755 });
  return { path: `${folder}:${path}`, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
