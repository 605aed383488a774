import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failure, meansGone } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { OciSpec } from './spec.types.ts';

/**
 * Reads the configuration of a running container, for a command in it.
 * @param bundle absolute path
 * @throws PortcullisError RUNTIME_EXEC_REFUSED when the file is gone: the container is being removed, or
 * somebody removed the file; and the errors of node:fs
 */
export async function readContainerSpec(bundle: string, id: string): Promise<OciSpec> {
  const file = join(bundle, 'config.json');
  try {
    return parseJson(await readFile(file, 'utf8')) as OciSpec;
  } catch (cause) {
    if (!meansGone(cause)) throw cause;
    const [attempted, why] = ['run a command in container', 'the container has been removed'];
    const fix = `if the container still exists, ${file} was removed: create another container`;
    throw failure('RUNTIME_EXEC_REFUSED', 'precondition', attempted, id.slice(0, 13), why, fix);
  }
}
