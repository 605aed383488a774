import type { IpPrefix } from '../../base/addresses/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { readClaims } from './claims.ts';
import type { RefusedNode } from './claims.ts';
import type { HeldSubnets } from './recorded-subnets.ts';
import type { NodeKernel } from './kernel.ts';
import type { NodeObjects } from './node-objects.ts';
import { planRoutes } from './routes.ts';
import type { HostAddress, PlannedRoutes } from './routes.ts';
import { prefixText } from './settings.ts';
import type { NodeNetworkSettings } from './settings.ts';

type FollowedNodes = Pick<NodeObjects, 'all' | 'came' | 'revision'>;

/** Keeps the routes to the pods of the other nodes. */
export interface RouteKeeper {
  /** Brings the kernel to the routes. A refusal by the kernel is logged, and retried at the next call. */
  keep(nodes: FollowedNodes, host: readonly HostAddress[]): void;
  /** The number of routes that exist, as of the last look at the kernel. */
  readonly count: number;
  readonly refused: readonly RefusedNode[];
}

export function createRouteKeeper({
  settings: { nodeName, routes },
  ranges,
  held,
  kernel,
  log,
}: {
  readonly settings: Pick<NodeNetworkSettings, 'nodeName' | 'routes'>;
  readonly ranges: readonly IpPrefix[];
  readonly held: Pick<HeldSubnets, 'current'>;
  readonly kernel: Pick<NodeKernel, 'reconcile'>;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}): RouteKeeper {
  let planned: PlannedRoutes = { routes: new Map(), refused: [] };
  /** The input from which the plan was made, as text. */
  let basis = '';
  let trouble = '';
  let existing = 0;

  const plan = (nodes: FollowedNodes, host: readonly HostAddress[]): void => {
    const texts = host.map(({ linkIndex, ...prefix }) => `${linkIndex} ${prefixText(prefix)}`);
    const next = [String(nodes.revision()), ...held.current.map(prefixText), '', ...texts].join('\n');
    if (next === basis) return;
    const claims = readClaims(nodes.all().values(), { ranges, held: held.current, wanted: [], nodeName });
    const { routes: found, refused } = planRoutes(nodes.all(), claims, { nodeName, ranges, host });
    planned = { routes: found, refused: [...claims.refused, ...refused] };
    basis = next;
  };
  const report = (why: string): void => {
    if (why !== '' && why !== trouble)
      log.warn({ why }, 'the kernel refused routes to other nodes; retrying');
    trouble = why;
  };

  return {
    keep(nodes, host) {
      // An incomplete list says nothing about the nodes that are missing.
      if (!routes || !nodes.came()) return;
      try {
        plan(nodes, host);
        const { corrected, refused, count } = kernel.reconcile(planned.routes, ranges);
        existing = count;
        if (corrected.length > 0)
          log.info(
            { found: corrected.slice(0, 10), count: corrected.length },
            'routes to other nodes were corrected',
          );
        report(refused[0] === undefined ? '' : reasonOf(refused[0]));
      } catch (thrown) {
        // Pods of this node still reach each other, and whatever the other routes lead to.
        report(reasonOf(thrown));
      }
    },
    get count() {
      return existing;
    },
    get refused() {
      return planned.refused;
    },
  };
}
