import { readFile } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { errnoOf } from './failures.ts';

/** Layer folders that something stands on. Undefined: nobody can say which, so it may be any. */
export type LayerList = readonly string[] | undefined;

/** There is no list: not that of an image without layers. */
export const noList: LayerList = [];

/**
 * Reads `<folder>/layers.json`, which an earlier run wrote before anybody used what stands on these layers. None when it is not there, or is no JSON: a
 * loss of power has then taken the mount as well, or a kill came before its first use (a mount that stands all the same is the caller's to see). Any other failure, such as EMFILE, says nothing of the layers.
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
    log.warn({ folder, error: reasonOf(thrown) }, 'a list of layers cannot be read: no layer is removed while what stands on it is there');
    return undefined;
  }
}

/** Both lists as one. */
export function joined(one: LayerList, other: LayerList): LayerList {
  return one && other && [...new Set([...one, ...other])];
}

/** Whether what the list belongs to may stand on the layer folder. */
export function mayHold(list: LayerList, folder: string): boolean {
  return list === undefined || list.includes(folder);
}
