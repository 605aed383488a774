import { fieldsOf, listOf, textOf } from '../../base/kubernetes/index.ts';
import type { ApiClient } from '../../base/kubernetes/index.ts';
import type { NodeCondition } from './conditions.ts';

/** The Node object of this node. */
export interface NodeStatus {
  /** Labels of the Node object, as of the last read. */
  labels(): Readonly<Record<string, string>>;
  /** @throws the errors of the API client */
  read(signal: AbortSignal): Promise<void>;
  /**
   * Reads the object, and writes the conditions that it does not have. Other conditions and fields stay as
   * they are. @throws the errors of the API client
   */
  write(conditions: readonly NodeCondition[], signal: AbortSignal): Promise<void>;
}

/** @param name of the Node object */
export function createNodeStatus(client: Pick<ApiClient, 'get' | 'send'>, name: string): NodeStatus {
  const path = `/api/v1/nodes/${encodeURIComponent(name)}`;
  let labels: Readonly<Record<string, string>> = {};
  const read = async (signal: AbortSignal): Promise<readonly Readonly<Record<string, unknown>>[]> => {
    const { metadata, status } = fieldsOf(await client.get(path, {}, signal));
    const given = Object.entries(fieldsOf(fieldsOf(metadata)['labels']));
    labels = Object.fromEntries(given.map(([key, value]) => [key, textOf(value)]));
    return listOf(fieldsOf(status)['conditions']).map(fieldsOf);
  };
  return {
    labels: () => labels,
    read: async (signal) => void (await read(signal)),
    async write(conditions, signal) {
      const before = await read(signal);
      const at = `${new Date().toISOString().slice(0, 19)}Z`;
      const written = conditions.map((condition) => {
        const known = before.find(({ type }) => type === condition.type);
        const since = known?.['status'] === condition.status ? textOf(known['lastTransitionTime']) : '';
        return { ...condition, lastHeartbeatTime: at, lastTransitionTime: since === '' ? at : since };
      });
      // The list of conditions is merged by their type (core/v1, NodeStatus: patchMergeKey).
      await client.send(
        {
          ...{ method: 'PATCH', path: `${path}/status`, body: { status: { conditions: written } } },
          contentType: 'application/strategic-merge-patch+json',
        },
        signal,
      );
    },
  };
}
