import { tolerate } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { isDiskFull } from '../../../base/storage/index.ts';
import { givingMemoryBack } from '../model/memory.ts';
import { contends, createClaims } from './claims.ts';
import type { Claims } from './claims.ts';
import type { Service } from '../model/model.ts';
import { portTextOf } from './node-ports.ts';
import type { ServiceStore } from './store.ts';
import { StoredService } from './stored-service.ts';

/** The services in force, and which of them holds which address. Synchronous, for one Worker. */
export interface HeldServices {
  /** By name, in the order in which they were added. */
  readonly held: Map<string, StoredService>;
  readonly claims: Claims;
  /** The sources of services that are being admitted and not held yet, by name. */
  readonly admitting: Map<string, string>;
  /** Returns the source of a service that is held or being admitted. */
  sourceOf(name: string): string | undefined;
  /** Returns the names of the source's services that are not among these. */
  othersOf(source: string, names: ReadonlySet<string>): string[];
}

/**
 * Loads the durable services. Each of them holds the addresses that it held before a restart. A service that
 * cannot be read costs no other service: it is removed, until its source puts it again. On a full disk, its
 * row is removed at a later start.
 */
export function loadServices(
  store: Pick<ServiceStore, 'nodePorts' | 'services' | 'states' | 'write'>,
  log: Pick<Logger, 'error'>,
): HeldServices {
  const held = new Map<string, StoredService>();
  const admitting = new Map<string, string>();
  const sourceOf = (name: string): string | undefined => admitting.get(name) ?? held.get(name)?.source;
  const claims = createClaims(
    (key) => store.nodePorts.holderOf(key),
    (...names) => names.every((name) => sourceOf(name) === 'kubernetes'),
  );

  const damaged: string[] = [];
  for (const { name, source, document } of givingMemoryBack(store.services())) {
    const each = new StoredService(source, document);
    const service = readableIn(each);
    if (service === undefined) {
      damaged.push(name);
      log.error({ service: name, source }, 'the record of a service is damaged: apply the service again');
      continue;
    }
    held.set(service.name, each);
    // A service that was admitted as a whole holds all its addresses. The other services get the remaining
    // addresses, whatever their order.
    if (!contends(source)) claims.add(service);
  }
  if (damaged.length > 0) tolerate(isDiskFull, () => store.write({ remove: damaged }));
  // A service that held a node port keeps it across a restart, whatever the order.
  const nodePorts = store.nodePorts.services();
  const had = new Set(nodePorts.values());
  for (const each of givingMemoryBack(held.values())) {
    const { name } = each.service;
    if (contends(each.source) && had.has(name))
      claims.contend(each.service, (key) => nodePorts.get(portTextOf(key) ?? '') === name);
  }
  for (const each of givingMemoryBack(held.values())) if (contends(each.source)) claims.contend(each.service);
  for (const { service, backend, state } of store.states()) held.get(service)?.mark(state, backend, true);

  return {
    held,
    claims,
    admitting,
    sourceOf,
    othersOf: (source, names) =>
      [...held].filter(([name, each]) => each.source === source && !names.has(name)).map(([name]) => name),
  };
}

function readableIn(stored: StoredService): Service | undefined {
  try {
    const { service } = stored;
    // The text `null` is JSON, too.
    return Object(service) === service ? service : undefined;
  } catch {
    return undefined;
  }
}
