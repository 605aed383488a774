import { keyOf } from '../model/model.ts';
import type { Balancer, ServerCounts, ServerKey, Service, VirtualServer } from '../model/model.ts';
import { insideWeightOf } from '../model/planes.ts';
import { claimsOf } from './claims.ts';
import type { ServiceCore } from './core.ts';
import { portAt } from '../model/port-at.ts';
import { checkedPortOf, healthIdOf } from './health/checks.ts';
import type { HealthChecks } from './health/checks.ts';
import type { Standing } from './drains.ts';
import type { ServiceInForce } from './stored-service.ts';

/** A backend of one port of a service, across all virtual addresses of the service. */
export interface ReportedBackend {
  readonly portName: string;
  readonly address: string;
  readonly port: number;
  /** The weight in force, for the clients for which it is larger. */
  readonly weight: number;
  /**
   * `removed`: no longer described; connections may go on until `until`. `drained`: the grace period is over.
   */
  readonly state: 'in service' | 'draining' | 'unhealthy' | 'removed' | 'drained';
  readonly health: 'healthy' | 'unhealthy' | 'not checked';
  /** The result of the last check, if it failed. */
  readonly why?: string;
  /** When established connections are ended; ISO 8601. */
  readonly until?: string;
  /** Connections begun since the virtual server was created. Absent if the kernel does not count them. */
  readonly connections?: number;
  /** Established connections. */
  readonly active: number;
}

export interface ReportedService {
  readonly name: string;
  /** Absent: the service was removed, and its connections end. */
  readonly source?: string;
  readonly balancer: Balancer['kind'];
  /** Why the service is not balanced, or not at all of its addresses. */
  readonly refused?: string;
  readonly addresses: readonly string[];
  readonly externalAddresses: readonly string[];
  readonly loadBalancerAddresses?: readonly string[];
  readonly loadBalancerSourceRanges?: readonly string[];
  /**
   * Packets from outside the source ranges that were dropped since the addresses were created. Absent: it has
   * no source ranges.
   */
  readonly denied?: number;
  readonly ports: Service['ports'];
  readonly scheduler: Service['scheduler'];
  readonly backends: readonly ReportedBackend[];
}

/** Which services are reported. */
export interface ReportPage {
  /** Absent: all. */
  readonly names?: readonly string[];
  /** Only services whose names come after this one. */
  readonly after?: string;
  /** The most services to report. */
  readonly most?: number;
}

/**
 * Yields what is in force and what is ending, with the kernel's counts, in the order of names. Yields one
 * service at a time, because there may be thousands. If there are more services, the return value is the name
 * after which they come.
 */
export function* reportServices(
  core: ServiceCore,
  checks: HealthChecks,
  page: ReportPage = {},
): Generator<ReportedService, string | undefined> {
  const balancer = core.balancer();
  // Includes removed services, and ports that a service no longer has.
  const ending = Map.groupBy(core.ending, (key) => core.standings.get(key)?.server.service ?? '');
  const { names: asked, after = '', most = Infinity } = page;
  const wanted = asked && new Set(asked);
  const known = new Set([...core.held.keys(), ...ending.keys()]);
  const all = [...known]
    .filter((name) => name > after && wanted?.has(name) !== false)
    .toSorted((a, b) => (a < b ? -1 : 1));
  const names = most < all.length ? all.slice(0, most) : all;
  const keysOf = (name: string, service: Service | undefined): Set<ServerKey> =>
    new Set([
      ...(service === undefined ? [] : claimsOf(service).map(({ key }) => key)),
      ...(ending.get(name) ?? []),
    ]);
  const counted =
    names.length < known.size
      ? new Set(names.flatMap((name) => [...keysOf(name, core.held.get(name)?.service)]))
      : undefined;
  const counts = new Map(balancer.counts(counted).map((each) => [each.key, each]));
  for (const name of names) {
    const held = core.held.get(name);
    const service = held?.service;
    const own = held === undefined || service === undefined ? undefined : { held, service };
    const standings = [...keysOf(name, service)].flatMap((key) => {
      const existing = core.standings.get(key);
      return existing === undefined ? [] : [{ server: existing.server, drains: existing.drains }];
    });
    const of = (kind: VirtualServer['kind']): string[] => [
      ...new Set(
        standings.flatMap(({ server }) =>
          server.kind === kind && server.address !== undefined ? [server.address] : [],
        ),
      ),
    ];
    const { refusal } = held ?? {};
    yield {
      name,
      ...(held !== undefined && { source: held.source }),
      balancer: balancer.kind,
      ...refusedOf(service, refusal, core),
      addresses: service?.addresses ?? of('virtual'),
      externalAddresses: service?.externalAddresses ?? of('external'),
      ...(service?.loadBalancerAddresses && { loadBalancerAddresses: service.loadBalancerAddresses }),
      ...(service?.loadBalancerSourceRanges && {
        loadBalancerSourceRanges: service.loadBalancerSourceRanges,
      }),
      ...deniedOf(standings, counts),
      ports: service?.ports ?? [],
      scheduler: service?.scheduler ?? standings[0]?.server.scheduler ?? 'rr',
      backends: backendsOf(standings, counts, own, checks),
    };
  }
  return names.length < all.length ? names.at(-1) : undefined;
}

const mostLost = 8;

function refusedOf(
  service: Service | undefined,
  refusal: ServiceInForce['refusal'],
  core: ServiceCore,
): Pick<ReportedService, 'refused'> {
  if (refusal !== undefined) return { refused: `${refusal.field}: ${refusal.why}` };
  const lost = service === undefined ? [] : core.lost(service);
  const more = lost.length > mostLost ? `; ${lost.length - mostLost} more` : '';
  return lost.length === 0
    ? {}
    : { refused: `${lost.slice(0, mostLost).join('; ')}${more}; its other addresses and ports are balanced` };
}

function deniedOf(
  standings: readonly Pick<Standing, 'server'>[],
  counts: ReadonlyMap<ServerKey, ServerCounts>,
): Pick<ReportedService, 'denied'> {
  const counted = standings.flatMap(({ server }) => counts.get(keyOf(server))?.denied ?? []);
  return counted.length === 0 ? {} : { denied: Number(counted.reduce((all, each) => all + each, 0n)) };
}

interface Own {
  readonly held: ServiceInForce;
  readonly service: Service;
}

function backendsOf(
  standings: readonly Pick<Standing, 'drains' | 'server'>[],
  counts: ReadonlyMap<ServerKey, ServerCounts>,
  own: Own | undefined,
  checks: HealthChecks,
): ReportedBackend[] {
  const reported = new Map<string, ReportedBackend>();
  for (const { server, drains } of standings) {
    const counted = counts.get(keyOf(server));
    const places = new Map(
      [...server.destinations, ...drains].map(({ address, port }) => [
        `${address} ${port}`,
        { address, port },
      ]),
    );
    for (const [place, { address, port }] of places) {
      const id = `${server.portName} ${place}`;
      const destination = server.destinations.find((each) => each.address === address && each.port === port);
      const weight =
        destination === undefined ? 0 : Math.max(destination.weight, insideWeightOf(destination));
      const drain = drains.find((each) => each.address === address && each.port === port);
      const before = reported.get(id);
      const connections = sum(before?.connections, countOf(counted, address, port)?.connections);
      reported.set(id, {
        portName: server.portName,
        address,
        port,
        weight: Math.max(before?.weight ?? 0, weight),
        ...stateOf(own, checks, { portName: server.portName, address, port, drain }),
        ...(drain !== undefined && !drain.over && { until: new Date(drain.until).toISOString() }),
        ...(connections !== undefined && { connections }),
        active: (before?.active ?? 0) + (countOf(counted, address, port)?.active ?? 0),
      });
    }
  }
  return [...reported.values()];
}

function stateOf(
  own: Own | undefined,
  checks: HealthChecks,
  {
    portName,
    address,
    port,
    drain,
  }: { portName: string; address: string; port: number; drain: { over: boolean } | undefined },
): Pick<ReportedBackend, 'health' | 'state' | 'why'> {
  const backend = own?.service.backends.find(
    (each) =>
      each.address === address &&
      own.service.ports.some((one) => one.name === portName && portAt(each, one) === port),
  );
  if (own === undefined || backend === undefined) return { state: 'removed', health: 'not checked' };
  const { service, held } = own;
  const { unhealthy } = held;
  const id = healthIdOf(backend, checkedPortOf(service));
  const isUnhealthy = unhealthy.has(id);
  const why = checks.why(service.name, id);
  const health = isUnhealthy ? 'unhealthy' : checks.isChecked(service.name, id) ? 'healthy' : 'not checked';
  const state =
    drain?.over === true
      ? 'drained'
      : drain === undefined
        ? 'in service'
        : isUnhealthy
          ? 'unhealthy'
          : 'draining';
  return { state, health, ...(why !== undefined && { why }) };
}

function countOf(
  counted: ServerCounts | undefined,
  address: string,
  port: number,
): ServerCounts['destinations'][number] | undefined {
  return counted?.destinations.find((each) => each.address === address && each.port === port);
}

function sum(before: number | undefined, more: bigint | undefined): number | undefined {
  return more === undefined ? before : (before ?? 0) + Number(more);
}
