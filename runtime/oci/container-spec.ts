import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failure, meansNoSuchPath, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { OciSpec } from './spec.types.ts';

/**
 * Reads the configuration of a running container, for a command in it.
 * @param bundle absolute path
 * @throws PortcullisError RUNTIME_EXEC_REFUSED when the file is gone: the container is being removed, or
 * somebody removed the file; when the file is damaged; and the errors of node:fs
 */
export async function readContainerSpec(bundle: string, id: string): Promise<OciSpec> {
  const file = join(bundle, 'config.json');
  const refused = (why: string, fix: string): Error =>
    failure('RUNTIME_EXEC_REFUSED', 'precondition', 'run a command in container', id.slice(0, 13), why, fix);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (!meansNoSuchPath(cause)) throw cause;
    throw refused(
      'the container has been removed',
      `if the container still exists, ${file} was removed: create another container`,
    );
  }
  const damaged = (why: string): Error =>
    refused(`its configuration ${file} is damaged: ${why}`, 'check the disk, and create another container');
  let spec: Partial<OciSpec> | null;
  try {
    spec = parseJson(text) as Partial<OciSpec> | null;
  } catch (cause) {
    throw damaged(reasonOf(cause));
  }
  if (!Array.isArray(spec?.mounts) || !Array.isArray(spec.process?.env))
    throw damaged('it has no mounts, or no process');
  return spec as OciSpec;
}
