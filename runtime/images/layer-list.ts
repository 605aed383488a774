import { readFile } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { errnoOf } from './limits/failures.ts';

/**
 * The layer folders that a root file system or volume uses. Undefined: the list is unknown, so it may use any
 * of them.
 */
export type LayerList = readonly string[] | undefined;

/** Means that there is no list, not that an image has no layers. */
export const noList: LayerList = [];

/**
 * Reads `<folder>/layers.json`, which an earlier run wrote before the first use of a mount on these layers.
 * Returns an empty list when the file is missing or is not JSON: a power loss has then removed the mount as
 * well, or the process was killed before the first use of the mount (the caller has to detect a mount that
 * exists nevertheless). After any other failure, such as EMFILE, the layers are unknown.
 */
export async function readLayerList(folder: string, log: Logger): Promise<LayerList> {
  try {
    const value: unknown = parseJson(await readFile(`${folder}/layers.json`, 'utf8'));
    if (typeof value === 'object' && value !== null && 'layers' in value && Array.isArray(value.layers))
      return value.layers.filter((layer: unknown) => typeof layer === 'string');
    return noList;
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR' || thrown instanceof SyntaxError) {
      log.debug({ folder, error: reasonOf(thrown) }, 'there is no list of layers');
      return noList;
    }
    log.warn(
      { folder, error: reasonOf(thrown) },
      'a list of layers cannot be read: no layer is removed while the mount on them exists',
    );
    return undefined;
  }
}

/** Returns the union of both lists. */
export function joined(one: LayerList, other: LayerList): LayerList {
  return one && other && [...new Set([...one, ...other])];
}

/** Whether the owner of the list may use the layer folder. */
export function mayHold(list: LayerList, folder: string): boolean {
  return list === undefined || list.includes(folder);
}
