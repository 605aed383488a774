import { join } from 'node:path';
import { fileReason, PortcullisError } from '../../../base/errors/index.ts';
import { readGivenFile } from '../../../base/files/index.ts';
import { indexedName } from './plugin-name.ts';
import type { PluginName } from './plugin-name.ts';

/** A configuration is a part of one message. */
const mostBytes = 1024 * 1024;

/**
 * Returns the configuration of a plugin: the file `NN-NAME.conf`, else `NAME.conf`, else nothing.
 * Source: nri, pkg/adaptation/plugin.go, getPluginConfig.
 * @throws PortcullisError NRI_CONFIG_UNREADABLE
 */
export async function readPluginConfig(folder: string, plugin: PluginName): Promise<string> {
  for (const name of [indexedName(plugin), plugin.base]) {
    const path = join(folder, `${name}.conf`);
    try {
      return (await readGivenFile(path, mostBytes)).toString('utf8');
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw unreadable(path, thrown);
    }
  }
  return '';
}

function unreadable(path: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'NRI_CONFIG_UNREADABLE',
    kind: 'precondition',
    attempted: 'read configuration of NRI plugin',
    on: path,
    why: fileReason(cause, path),
    fix: 'correct the file, and start the plugin again',
    cause,
  });
}
