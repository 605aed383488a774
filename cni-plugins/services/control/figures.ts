import type { ServiceCore } from './core.ts';
import type { HealthChecks } from './health/checks.ts';
import type { ServiceFigures } from './protocol.ts';
import { reportServices } from './report.ts';
import type { Upkeep } from './upkeep.ts';

/** The most backends that metrics list individually. */
const mostBackends = 10_000;

export function figuresOf(core: ServiceCore, checks: HealthChecks, upkeep: Upkeep): ServiceFigures {
  const services: Record<string, number> = {};
  let refused = 0;
  for (const held of core.held.values()) {
    services[held.source] = (services[held.source] ?? 0) + 1;
    if (held.refusal !== undefined) refused += 1;
  }
  const backends: ServiceFigures['backends'][number][] = [];
  const denied: ServiceFigures['denied'][number][] = [];
  for (const { name, backends: reported, denied: packets } of reportServices(core, checks)) {
    if (packets !== undefined) denied.push({ service: name, packets });
    if (backends.length + reported.length > mostBackends) break;
    for (const { portName, address, port, weight, health, active, connections } of reported)
      backends.push({
        service: name,
        portName,
        backend: address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
        weight,
        isWell: health !== 'unhealthy',
        active,
        ...(connections !== undefined && { connections }),
      });
  }
  return {
    balancer: core.balancer().kind,
    services,
    refused: refused + core.contested(),
    virtualServers: core.standings.size,
    repairs: upkeep.repairs(),
    denied,
    backends,
  };
}
