import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createApiClient, createCollection, follow } from '../../base/kubernetes/index.ts';
import type { ApiAccess } from '../../base/kubernetes/index.ts';
import { readNode, sameNode } from './nodes.ts';
import type { ClusterNode } from './nodes.ts';

/** The Node objects of the cluster, as far as they count here. */
export interface NodeObjects {
  /** By name. */
  all(): ReadonlyMap<string, ClusterNode>;
  /** A complete list has arrived. Until then, an absent node says nothing. */
  came(): boolean;
  /** Another number after each change that counts here. */
  revision(): number;
  /** Why they are not watched; undefined: they are. */
  away(): string | undefined;
  close(): Promise<void>;
}

/**
 * Follows the Node objects. Never ends by itself. A failure is logged when it begins and when it is over, and
 * meanwhile the nodes stay as they were.
 * @param onChanged called after a change that counts here
 */
export function followNodes(
  access: () => Promise<ApiAccess>,
  onChanged: () => void,
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void },
): NodeObjects {
  const nodes = new Map<string, ClusterNode>();
  const ended = new AbortController();
  let away: string | undefined;
  let revision = 0;
  const collection = createCollection(
    readNode,
    () => [...nodes.keys()].map((name) => `/${name}`),
    (key, node) => {
      const name = key.slice(1);
      if (sameNode(nodes.get(name), node)) return;
      if (node === undefined) nodes.delete(name);
      else nodes.set(name, node);
      revision++;
      onChanged();
    },
  );
  const client = createApiClient(access, {
    userAgent: 'portcullis',
    rights: 'get, list and watch nodes',
    meanwhile: 'routes stay as they are',
  });
  const following = follow(
    client,
    { path: '/api/v1/nodes', query: {} },
    {
      begin: collection.begin,
      listed: collection.listed,
      paged: () => undefined,
      complete() {
        collection.complete();
        onChanged();
      },
      reached() {
        if (away !== undefined) log.info({ watched: 'nodes' }, 'the API server is watched again');
        away = undefined;
      },
      changed: collection.changed,
      removed: collection.removed,
      failed(thrown, listing) {
        const why = reasonOf(thrown);
        const reported = isPortcullisError(thrown)
          ? { code: thrown.code, on: thrown.failure.on, fix: thrown.failure.fix }
          : {};
        if (away !== why)
          log.warn(
            { watched: 'nodes', why, ...reported, listing },
            'the API server is not watched; retrying',
          );
        away = why;
        onChanged();
      },
    },
    ended.signal,
  );
  return {
    all: () => nodes,
    came: collection.came,
    revision: () => revision,
    away: () => away,
    async close() {
      ended.abort();
      await following;
      client.close();
    },
  };
}
