import type { Balancer, ServerCounts, Service } from '../model.ts';

import type { Held, ServiceCore } from './core.ts';
import { checkedPortOf, healthIdOf } from './health/checks.ts';
import type { HealthChecks } from './health/checks.ts';

/** A backend of one port of a service, over all its virtual addresses. */
export interface ReportedBackend {
  readonly portName: string;
  readonly address: string;
  readonly port: number;
  /** As it is balanced now. */
  readonly weight: number;
  /** `removed`: no longer described, connections may go on until `until`. `over`: its grace is over. */
  readonly state: 'in service' | 'draining' | 'unwell' | 'removed' | 'over';
  readonly health: 'well' | 'unwell' | 'not checked';
  /** What the last check said, where it was not well. */
  readonly why?: string;
  /** When what stands there is ended; ISO 8601. */
  readonly until?: string;
  /** That were begun since the virtual server was made; absent where the kernel does not count them. */
  readonly connections?: number;
  /** That stand. */
  readonly active: number;
}

export interface ReportedService {
  readonly name: string;
  /** Absent: removed, and its connections end. */
  readonly source?: string;
  readonly balancer: Balancer['kind'];
  /** Why it is not balanced. */
  readonly refused?: string;
  readonly addresses: readonly string[];
  readonly externalAddresses: readonly string[];
  readonly ports: Service['ports'];
  readonly scheduler: Service['scheduler'];
  readonly backends: readonly ReportedBackend[];
}

/** What stands, with what the kernel has counted. */
export function reportServices(core: ServiceCore, checks: HealthChecks): ReportedService[] {
  const counts = new Map(
    core
      .balancer()
      .counts()
      .map((each) => [each.key, each]),
  );
  const byService = new Map<string, Map<string, ReportedBackend>>();
  for (const [key, { server, drains }] of core.standings) {
    const told = byService.get(server.service) ?? new Map<string, ReportedBackend>();
    byService.set(server.service, told);
    const held = core.held.get(server.service);
    const counted = counts.get(key);
    const places = new Map([...server.destinations, ...drains].map(({ address, port }) => [`${address} ${port}`, { address, port }]));
    for (const [place, { address, port }] of places) {
      const id = `${server.portName} ${place}`;
      const weight = server.destinations.find((each) => each.address === address && each.port === port)?.weight ?? 0;
      const drain = drains.find((each) => each.address === address && each.port === port);
      const before = told.get(id);
      const connections = sum(before?.connections, countOf(counted, address, port)?.connections);
      told.set(id, {
        portName: server.portName,
        address,
        port,
        weight: Math.max(before?.weight ?? 0, weight),
        ...stateOf(held, checks, { portName: server.portName, address, port, drain }),
        ...(drain !== undefined && !drain.over && { until: new Date(drain.until).toISOString() }),
        ...(connections !== undefined && { connections }),
        active: (before?.active ?? 0) + (countOf(counted, address, port)?.active ?? 0),
      });
    }
  }
  const balancer = core.balancer().kind;
  const standing = [...core.held.values()].map(({ service, source, refusal }): ReportedService => {
    const { name, addresses, externalAddresses, ports, scheduler } = service;
    return {
      name,
      source,
      balancer,
      ...(refusal !== undefined && { refused: `${refusal.field}: ${refusal.why}` }),
      addresses,
      externalAddresses,
      ports,
      scheduler,
      backends: [...(byService.get(name)?.values() ?? [])],
    };
  });
  return [...standing, ...endingServices(core, byService)].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Services that were removed and whose connections go on for a while. */
function endingServices(core: ServiceCore, byService: ReadonlyMap<string, ReadonlyMap<string, ReportedBackend>>): ReportedService[] {
  return [...byService]
    .filter(([name]) => !core.held.has(name))
    .map(([name, backends]) => {
      const servers = [...core.standings.values()].map(({ server }) => server).filter(({ service }) => service === name);
      return {
        name,
        balancer: core.balancer().kind,
        addresses: [...new Set(servers.flatMap(({ kind, address }) => (kind === 'virtual' && address !== undefined ? [address] : [])))],
        externalAddresses: [
          ...new Set(servers.flatMap(({ kind, address }) => (kind === 'external' && address !== undefined ? [address] : []))),
        ],
        ports: [],
        scheduler: servers[0]?.scheduler ?? 'rr',
        backends: [...backends.values()],
      };
    });
}

function stateOf(
  held: Held | undefined,
  checks: HealthChecks,
  { portName, address, port, drain }: { portName: string; address: string; port: number; drain: { over: boolean } | undefined },
): Pick<ReportedBackend, 'health' | 'state' | 'why'> {
  const backend = held?.service.backends.find(
    (each) =>
      each.address === address &&
      held.service.ports.some((one) => one.name === portName && (each.ports?.[portName] ?? one.targetPort) === port),
  );
  if (held === undefined || backend === undefined) return { state: 'removed', health: 'not checked' };
  const { service, unwell } = held;
  const id = healthIdOf(backend, checkedPortOf(service));
  const isUnwell = unwell.has(id);
  const why = checks.why(service.name, id);
  const health = isUnwell ? 'unwell' : checks.isChecked(service.name, id) ? 'well' : 'not checked';
  const state = drain?.over === true ? 'over' : drain === undefined ? 'in service' : isUnwell ? 'unwell' : 'draining';
  return { state, health, ...(why !== undefined && { why }) };
}

function countOf(counted: ServerCounts | undefined, address: string, port: number): ServerCounts['destinations'][number] | undefined {
  return counted?.destinations.find((each) => each.address === address && each.port === port);
}

function sum(before: number | undefined, more: bigint | undefined): number | undefined {
  return more === undefined ? before : (before ?? 0) + Number(more);
}
