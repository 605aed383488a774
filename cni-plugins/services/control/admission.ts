import { append } from '../../../base/lists/index.ts';
import type { Balancer, RefusedService, ServerKey, Service } from '../model/model.ts';
import { serializeService } from '../model/serialized-service.ts';
import { checked } from './checked.ts';
import { contends } from './claims.ts';
import type { Lost } from './claims.ts';
import type { HeldServices } from './services-in-force.ts';
import { placeTextOf } from './node-ports.ts';
import { StoredService, unhealthyThatRemain } from './stored-service.ts';
import { keysOf, refusalOf, serversOf } from './wanted-servers.ts';

/** A service that may be in force, with its stored form. */
interface Fit {
  readonly next: StoredService;
  readonly service: Service;
}

export interface Admitted extends Fit {
  /** The keys of the virtual servers that its name had until now. */
  readonly formerKeys: readonly ServerKey[];
}

/** The request of a source: these services in force, and others of its services removed. */
export interface AskedChange {
  readonly source: string;
  readonly services: readonly Service[];
  /** Names of held services. */
  readonly gone: readonly string[];
}

export interface Admission {
  readonly admitted: readonly Admitted[];
  /** Services that lost an address to another one of the same source. They cannot stay in force. */
  readonly lost: readonly string[];
  readonly refused: readonly RefusedService[];
}

/**
 * Decides which of these services may be in force, in their order, and gives them their addresses. A refused
 * service keeps its previous state as far as that is still free. For a source that contends, only the
 * addresses that others hold are refused, and the rest is in force as described now.
 */
export function admit(
  { source, services, gone }: AskedChange,
  inForce: HeldServices,
  balancer: Balancer,
): Admission {
  const { fit, refused } = examine(source, services, inForce, balancer);
  const claimed = claimAddresses(source, fit, gone, inForce);
  return { ...claimed, refused: [...refused, ...claimed.refused] };
}

/** Finds the services that change something and that the balancer can serve. No address is claimed yet. */
function examine(
  source: string,
  services: readonly Service[],
  inForce: HeldServices,
  balancer: Balancer,
): { fit: Fit[]; refused: RefusedService[] } {
  const { held, claims } = inForce;
  const refused: RefusedService[] = [];
  const fit: Fit[] = [];
  const names = new Set<string>();
  for (const given of services) {
    const service = checked(source, given);
    if ('code' in service) {
      refused.push(service);
      continue;
    }
    const before = held.get(service.name);
    const refuse = (code: string, field: string, why: string): number =>
      refused.push({ name: service.name, code, field, why });
    if (names.has(service.name)) {
      refuse('NETWORK_SERVICE_EXISTS', 'name', `${service.name} occurs twice`);
      continue;
    }
    names.add(service.name);
    if (before !== undefined && before.source !== source) {
      refuse(
        'NETWORK_SERVICE_EXISTS',
        'name',
        `a service with this name already exists (source: ${before.source})`,
      );
      continue;
    }
    const next = new StoredService(source, serializeService(service), service);
    if (
      before !== undefined &&
      before.refusal === undefined &&
      before.document === next.document &&
      !(contends(source) && claims.canGain(service))
    ) {
      const lost = contends(source)
        ? refusedFor(service.name, source, claims.lost(service), inForce)
        : undefined;
      if (lost !== undefined) refused.push(lost);
      continue;
    }
    if (before !== undefined) next.drained = before.drained;
    next.unhealthy = unhealthyThatRemain(before, service);
    const refusal = refusalOf(balancer, serversOf(next, service));
    if (refusal === undefined) fit.push({ next, service });
    else refuse('NETWORK_SERVICE_UNSUPPORTED', refusal.field, `${refusal.why} (${balancer.kind})`);
  }
  return { fit, refused };
}

/** Releases the addresses that the source gives up, and claims those of its next services. */
function claimAddresses(
  source: string,
  fit: readonly Fit[],
  gone: readonly string[],
  inForce: HeldServices,
): Admission {
  const { held, claims, admitting } = inForce;
  const refused: RefusedService[] = [];
  // Free for all services of this source at once, and for no other service before all of these have
  // claimed.
  const free = gone.flatMap((name) => claims.release((held.get(name) as StoredService).service));
  const claiming = fit.map(({ next, service }): Admitted => {
    const before = held.get(service.name);
    // It is read from its text once.
    const former = before?.service;
    if (former !== undefined) append(free, claims.release(former, service));
    return { next, service, formerKeys: keysOf(before, former) };
  });
  const admitted: Admitted[] = [];
  const late: Service[] = [];
  for (const { service } of fit) admitting.set(service.name, source);
  for (const each of claiming) {
    if (contends(source)) {
      claims.contend(each.service);
      admitted.push(each);
      continue;
    }
    const taken = claims.taken(each.service);
    if (taken === undefined) {
      claims.add(each.service);
      admitted.push(each);
      continue;
    }
    const { name } = each.service;
    refused.push(refusedFor(name, source, [taken], inForce) as RefusedService);
    const before = held.get(name);
    if (before !== undefined) late.push(before.service);
  }
  const lost: string[] = [];
  for (const service of late) {
    if (claims.taken(service) === undefined) claims.add(service);
    else {
      append(free, claims.release(service));
      lost.push(service.name);
    }
  }
  claims.handOver(free);
  // Only after all services have claimed, because the last one may have taken an address from the first.
  if (contends(source))
    for (const { service } of admitted)
      append(refused, [refusedFor(service.name, source, claims.lost(service), inForce) ?? []].flat());
  admitting.clear();
  return { admitted, lost, refused };
}

/** Returns the refusal of a service that did not get these addresses, or undefined if it got all. */
function refusedFor(
  name: string,
  source: string,
  [first, ...others]: readonly Lost[],
  { sourceOf }: Pick<HeldServices, 'sourceOf'>,
): RefusedService | undefined {
  if (first === undefined) return undefined;
  const holder =
    first.other ?? `the service ${first.holder} (source: ${sourceOf(first.holder ?? '') ?? source})`;
  const more =
    others.length === 0 ? '' : `; others also hold ${others.length} more of its addresses and ports`;
  return {
    name,
    code: 'NETWORK_SERVICE_ADDRESS_TAKEN',
    field: first.field,
    why: `${placeTextOf(first.key)} belongs to ${holder}${more}`,
  };
}
