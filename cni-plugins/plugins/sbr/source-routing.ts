import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import {
  addSourceRule,
  appendRoute,
  deleteRoute,
  deleteSourceRule,
  findLink,
  listRoutes,
  listRoutingRules,
  mainTable,
  replaceRoute,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { SourceRule, NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import type { Resource, ResourceType } from '../contract/contract.ts';
import { podOf } from '../interface/child-link.ts';
import { withoutRoutes } from '../interface/amended.ts';
import { interfaceMissing } from '../interface/failures.ts';
import { sameRoute, tableRouteOf } from '../interface/pod-addresses.ts';
import type { PodRoute } from '../interface/pod-addresses.ts';

export interface SourceRouting extends Resource {
  readonly kind: 'source-routing';
  readonly interface: string;
  readonly rules: readonly { readonly source: string; readonly table: number }[];
  /** Routes in separate tables. */
  readonly routes: readonly PodRoute[];
  /** Routes in the main table that name the source address. */
  readonly hints: readonly PodRoute[];
  /** Routes that leave the main table. */
  readonly leaving: readonly PodRoute[];
}

const bytesOf = ({ source, table }: SourceRouting['rules'][number]): SourceRule => {
  const address = parseIp(source);
  if (address === undefined) throw new Error(`${source} was stored unread`);
  return { source: ipBytes(address), table };
};

const has = (rules: ReturnType<typeof listRoutingRules>, wanted: SourceRule): boolean =>
  rules.some(
    ({ table, source }) =>
      table === wanted.table && source !== undefined && Buffer.from(source).equals(wanted.source),
  );

export const sourceRoutingType: ResourceType<SourceRouting> = {
  kind: 'source-routing',
  ensure(resource, kernel) {
    const { route } = podOf(kernel, resource.interface);
    const link = findLink(route, { name: resource.interface });
    if (link === undefined) throw interfaceMissing(resource.interface, 'pod');
    for (const entry of resource.routes)
      tolerating(['EEXIST'], () => route.run([appendRoute(tableRouteOf(entry, link.index))]));
    const rules = listRoutingRules(route);
    for (const wanted of resource.rules.map(bytesOf))
      if (!has(rules, wanted)) route.run([addSourceRule(wanted)]);
    for (const entry of resource.leaving)
      sending(route, deleteRoute({ ...tableRouteOf(entry, link.index), table: mainTable }), 'ESRCH');
    for (const entry of resource.hints) route.run([replaceRoute(tableRouteOf(entry, link.index))]);
  },
  differences(resource, kernel) {
    const { interface: name } = resource;
    const route = kernel.pod?.route;
    const link = route === undefined ? undefined : findLink(route, { name });
    if (route === undefined || link === undefined) return [`the pod has no interface ${name}`];
    const rules = listRoutingRules(route);
    const routes = listRoutes(route);
    return [
      ...resource.rules
        .filter((rule) => !has(rules, bytesOf(rule)))
        .map(({ source, table }) => `no rule sends traffic from ${source} to table ${table}`),
      ...[...resource.routes, ...resource.hints]
        .filter((entry) => !routes.some((found) => sameRoute(found, tableRouteOf(entry, link.index))))
        .map((entry) => `table ${entry.table ?? mainTable} has no route to ${entry.dst} by ${name}`),
    ];
  },
  amend: (resource, earlier) => withoutRoutes(earlier, resource.interface, resource.leaving),
  remove(resource, kernel) {
    const route = kernel.pod?.route;
    if (route === undefined) return;
    for (const rule of resource.rules) sending(route, deleteSourceRule(bytesOf(rule)), 'ENOENT', 'ESRCH');
    const link = findLink(route, { name: resource.interface });
    if (link === undefined) return;
    // Routes to gateways go last: a route through a gateway needs them until it is gone.
    for (const entry of resource.routes.toReversed())
      sending(route, deleteRoute(tableRouteOf(entry, link.index)), 'ESRCH', 'ENETDOWN');
  },
};

function sending(socket: NetlinkSocket, request: Request, ...tolerated: readonly string[]): void {
  tolerating(tolerated, () => socket.run([request]));
}
