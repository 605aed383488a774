import { asPortcullisError } from '../../base/errors/index.ts';
import { reasonWord } from '../cni/index.ts';
import type { RefusedNode } from './claims.ts';
import type { NodeNetworkStatus } from './protocol.ts';

/** The status before the first one. */
export const startingStatus: NodeNetworkStatus = {
  ready: false,
  reason: 'NodeNetworkStarting',
  message: 'the network of the node is starting',
  subnets: [],
  routes: 0,
  refused: [],
  refusedCount: 0,
};

export interface StatusReport {
  readonly current: NodeNetworkStatus;
  /** @param thrown why there is no network for new pods; undefined: there is */
  update(
    thrown: unknown,
    facts: {
      readonly subnets: readonly string[];
      readonly routes: number;
      readonly refused: readonly RefusedNode[];
      readonly away: string | undefined;
    },
  ): void;
}

const mostShown = 20;

/** Logs each change once, and passes it on. */
export function createStatusReport(
  nodeName: string,
  onChanged: (status: NodeNetworkStatus) => void,
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void },
): StatusReport {
  let current = startingStatus;

  const logChange = (before: NodeNetworkStatus, next: NodeNetworkStatus): void => {
    if (!next.ready && next.message !== before.message)
      log.warn({ why: next.message }, 'this node has no network for new pods; retrying');
    if (next.ready && !before.ready)
      log.info({ subnets: next.subnets }, 'this node has a network for its pods');
    if (next.refusedCount > 0 && next.refused.join('\n') !== before.refused.join('\n'))
      log.warn(
        { refused: next.refused, count: next.refusedCount },
        'some subnets and addresses in Node objects are ignored; all others are used',
      );
  };

  return {
    get current() {
      return current;
    },
    update(thrown, { subnets, routes, refused, away }) {
      const trouble =
        thrown === undefined
          ? undefined
          : asPortcullisError(thrown, {
              code: 'NODE_NETWORK_FAILED',
              kind: 'internal',
              attempted: 'set up the pod network of the node',
              on: nodeName,
              fix: 'report this with the daemon log',
            });
      const next: NodeNetworkStatus = {
        ready: trouble === undefined,
        reason: trouble === undefined ? '' : reasonWord(trouble),
        message: trouble?.message ?? '',
        subnets,
        routes,
        refused: refused.slice(0, mostShown).map(({ node, what, why }) => `${node}: ${what}: ${why}`),
        refusedCount: refused.length,
        ...(away !== undefined && { away }),
      };
      if (JSON.stringify(next) === JSON.stringify(current)) return;
      logChange(current, next);
      current = next;
      onChanged(next);
    },
  };
}
