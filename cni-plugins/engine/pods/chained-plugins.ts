import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { ChainedPlugin } from '../../spec/network-config.ts';
import type { PluginCall } from '../../calls/plugin-call.ts';
import type { PluginCore } from '../../plugin-engine/plugin-engine.ts';
import { resultOf } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';

/** The plugins of a conflist that follow the bridge, for a link that the engine creates itself. */
export interface ChainedPlugins {
  /** @throws the first failure; what was created until then stays */
  add(record: AttachmentRecord): void;
  /** Runs them in reverse order. A failure is logged, and the next release tries again. */
  remove(record: AttachmentRecord): void;
}

export function createChainedPlugins(
  plugins: Pick<PluginCore, 'call'>,
  log: Pick<Logger, 'warn'>,
): ChainedPlugins {
  return {
    add(record) {
      if (record.spec.chained === undefined) return;
      let prevResult = resultOf(record);
      for (const plugin of record.spec.chained)
        prevResult = atOnce(plugins.call({ ...callOf(record, 'add', plugin), prevResult })) ?? prevResult;
    },
    remove(record) {
      for (const plugin of (record.spec.chained ?? []).toReversed()) {
        try {
          atOnce(plugins.call(callOf(record, 'del', plugin)));
        } catch (thrown) {
          log.warn(
            { id: record.id, type: plugin.type, why: reasonOf(thrown) },
            'a chained plugin could not be deleted; it is tried again',
          );
        }
      }
    },
  };
}

/** Plugins that change an interface have no third-party addresses to wait for. */
function atOnce<T>(result: T | Promise<T>): T {
  if (result instanceof Promise) throw new Error('a chained plugin waits for a program');
  return result;
}

const callOf = (
  record: AttachmentRecord,
  verb: PluginCall['verb'],
  { type, config }: ChainedPlugin,
): PluginCall => ({
  verb,
  type,
  caller: {},
  key: { network: record.spec.network, containerId: record.id, interface: record.spec.interface },
  netns: record.spec.netns,
  args: {
    K8S_POD_NAMESPACE: record.spec.pod.namespace,
    K8S_POD_NAME: record.spec.pod.name,
    K8S_POD_UID: record.spec.pod.uid,
    K8S_POD_INFRA_CONTAINER_ID: record.id,
  },
  path: [],
  config,
});
