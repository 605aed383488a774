import { isPortcullisError } from '../../base/errors/index.ts';
import { bareType } from '../calls/plugin-type.ts';
import type { LoadedNetwork } from '../spec/conf-folder.ts';
import { hostPortFields } from '../spec/conflist.ts';
import { readPluginConfiguration, refusedFields } from './plugin-configuration.ts';

/**
 * Returns the fields of a network that its plugins refuse in each ADD, because they do not know them:
 * `TYPE: MESSAGE`. Problems that a pod's capabilities and arguments may solve are not included.
 */
export function refusedFieldsOf({
  network: core,
  list,
}: Pick<LoadedNetwork, 'list' | 'network'>): readonly string[] {
  const { name, cniVersion, plugins } = list;
  return plugins.flatMap(({ type, config }) => {
    const engineFields: readonly string[] =
      core !== undefined && bareType(type) === 'portmap' ? hostPortFields : [];
    const fields = Object.entries(config).filter(([field]) => !engineFields.includes(field));
    const text = JSON.stringify({ ...Object.fromEntries(fields), name, cniVersion });
    return refusedIn(type, text).map((problem) => `${type}: ${problem.replace(/^stdin:\d+:\d+: /u, '')}`);
  });
}

/** Returns nothing for a configuration that cannot be read at all, which an ADD reports in full. */
function refusedIn(type: string, config: string): readonly string[] {
  try {
    return refusedFields(readPluginConfiguration({ type, args: {}, config })).map(({ problem }) => problem);
  } catch (thrown) {
    if (isPortcullisError(thrown)) return [];
    throw thrown;
  }
}
