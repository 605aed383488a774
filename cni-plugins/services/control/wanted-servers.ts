import type { Logger } from '../../../base/log/index.ts';
import { givingMemoryBack } from '../model/memory.ts';
import { keyOf } from '../model/model.ts';
import type { Backend, Balancer, Refusal, ServerKey, Service } from '../model/model.ts';
import { claimsOf } from './claims.ts';
import { expand } from './expand.ts';
import type { BackendStanding, Expanded } from './expand.ts';
import { checkedPortOf, healthIdOf } from './health/checks.ts';
import type { HeldServices } from './services-in-force.ts';
import type { ServiceInForce } from './stored-service.ts';

/** A virtual server that its holder wants. */
export interface WantedServer {
  readonly key: ServerKey;
  readonly server: Expanded;
  /** The grace period of the service that holds it. */
  readonly graceSeconds: number;
  /** A destination that is gone keeps no connection. */
  readonly forgetsGone: boolean;
}

const wantedServer = (
  { source, service: { drainGraceSeconds } }: Pick<ServiceInForce, 'service' | 'source'>,
  key: ServerKey,
  server: Expanded,
): WantedServer => ({
  key,
  server,
  graceSeconds: drainGraceSeconds,
  // An endpoint of a cluster is gone with its pod, and a sender of UDP does not notice that nobody answers.
  // As with kube-proxy, its next packet goes to another endpoint.
  forgetsGone: source === 'kubernetes' && server.protocol === 'udp',
});

/** A service that is admitted is asked for its servers twice. */
const known = new WeakMap<
  Service,
  Pick<ServiceInForce, 'drained' | 'unhealthy'> & { readonly servers: Expanded[] }
>();

/** Returns the virtual servers of a service, with the drained and unhealthy backends of `standing`. Pure. */
export function serversOf(
  existing: Pick<ServiceInForce, 'drained' | 'unhealthy'>,
  service: Service,
): Expanded[] {
  const { drained, unhealthy } = existing;
  const before = known.get(service);
  // A set is replaced when it changes.
  if (before?.drained === drained && before.unhealthy === unhealthy) return before.servers;
  // The search of an empty set would first look up the text among all texts of the thread.
  const servers = expand(service, (backend: Backend): BackendStanding => ({
    drained: drained.size > 0 && drained.has(backend.address),
    unhealthy: unhealthy.size > 0 && unhealthy.has(healthIdOf(backend, checkedPortOf(service))),
  }));
  known.set(service, { drained, unhealthy, servers });
  return servers;
}

/** Returns why the balancer cannot program one of these servers, or undefined if it can program all. */
export function refusalOf(balancer: Balancer, servers: readonly Expanded[]): Refusal | undefined {
  for (const server of servers) {
    const refusal = balancer.refuse(server);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/**
 * Returns the keys of the service's virtual servers. A service that the balancer refused has none.
 * @param service the service itself, if it was read already
 */
export const keysOf = (each: ServiceInForce | undefined, service?: Service): ServerKey[] =>
  each === undefined || each.refusal !== undefined
    ? []
    : claimsOf(service ?? each.service).map(({ key }) => key);

/** Returns the virtual servers that the current holders of these keys want. */
export function wantedOf(
  keys: ReadonlySet<ServerKey>,
  { held, claims }: Pick<HeldServices, 'claims' | 'held'>,
): Map<ServerKey, WantedServer> {
  const names = new Set([...keys].map((key) => claims.holderOf(key)));
  const wanted = new Map<ServerKey, WantedServer>();
  for (const name of names) {
    const each = name === undefined ? undefined : held.get(name);
    if (each === undefined || each.refusal !== undefined) continue;
    const { service } = each;
    for (const server of serversOf(each, service)) {
      const key = keyOf(server);
      if (keys.has(key) && claims.holderOf(key) === name)
        wanted.set(key, wantedServer({ source: each.source, service }, key, server));
    }
  }
  return wanted;
}

/**
 * Yields the virtual servers of all services for this balancer. Marks and logs each service that the balancer
 * refuses, and leaves out its servers.
 */
export function* wantedFor(
  balancer: Balancer,
  { held, claims }: Pick<HeldServices, 'claims' | 'held'>,
  log: Pick<Logger, 'error'>,
): Generator<WantedServer> {
  // One service at a time: all of them as objects would take many times the memory of their texts.
  for (const [name, each] of givingMemoryBack(held)) {
    const { service } = each;
    const all = serversOf(each, service);
    const refusal = refusalOf(balancer, all);
    if (refusal === undefined) delete each.refusal;
    else {
      each.refusal = refusal;
      log.error(
        { service: name, balancer: balancer.kind, ...refusal },
        'a service is not balanced: the balancer does not support its settings',
      );
      continue;
    }
    for (const server of all) {
      const key = keyOf(server);
      if (claims.holderOf(key) === name) yield wantedServer({ source: each.source, service }, key, server);
    }
  }
}
