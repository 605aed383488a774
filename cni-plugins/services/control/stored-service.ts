import { parseJson } from '../../../base/json/index.ts';
import { packServer, unpackServer } from '../model/serialized-server.ts';
import type { PackedServer } from '../model/serialized-server.ts';
import type { Refusal, Service, VirtualServer } from '../model/model.ts';
import { checkedPortOf, healthIdOf } from './health/checks.ts';
import type { Drain, Standing } from './drains.ts';

/** A service in force, with its state. */
export interface ServiceInForce {
  readonly source: string;
  /** Parsed again on each access: only the text is kept. */
  readonly service: Service;
  /** The service as it is stored on disk. */
  readonly document: string;
  /** Addresses of drained backends. */
  readonly drained: ReadonlySet<string>;
  /** Backends by `healthIdOf`. */
  readonly unhealthy: ReadonlySet<string>;
  /** Why the current balancer does not serve it. */
  readonly refusal?: Refusal;
}

/** One empty set, shared by all services. */
const nothing: ReadonlySet<string> = new Set();

const orNothing = (set: ReadonlySet<string>): ReadonlySet<string> => (set.size === 0 ? nothing : set);

/** The services of this turn of the event loop: what is being applied is needed several times. */
const recent = new Map<StoredService, Service>();
function remember(stored: StoredService, service: Service): void {
  if (recent.size === 0) setImmediate(() => recent.clear());
  recent.set(stored, service);
}

/** Implements {@link ServiceInForce}. With thousands of services, each costs only its text. */
export class StoredService implements ServiceInForce {
  readonly source: string;
  readonly document: string;
  drained = nothing;
  unhealthy = nothing;
  refusal?: Refusal;

  /** @param service what the document says, if it is known */
  constructor(source: string, document: string, service?: Service) {
    this.source = source;
    this.document = document;
    if (service !== undefined) remember(this, service);
  }

  get service(): Service {
    return recent.get(this) ?? (parseJson(this.document) as Service);
  }

  mark(state: 'drained' | 'unhealthy', entry: string, is: boolean): void {
    const set = new Set(this[state]);
    if (is) set.add(entry);
    else set.delete(entry);
    this[state] = orNothing(set);
  }
}

/** Returns the unhealthy backends that the service still has. Pure. */
export function unhealthyThatRemain(
  before: ServiceInForce | undefined,
  service: Service,
): ReadonlySet<string> {
  if (before === undefined || before.unhealthy.size === 0 || service.healthCheck === undefined)
    return nothing;
  const ids = new Set(service.backends.map((backend) => healthIdOf(backend, checkedPortOf(service))));
  return new Set([...before.unhealthy].filter((id) => ids.has(id)));
}

const noDrains: readonly Drain[] = Object.freeze([]);

/** Implements {@link Standing}. The server is kept as text until it is read. */
export class PackedStanding implements Standing {
  readonly packed: PackedServer;
  readonly drains: readonly Drain[];
  readonly graceSeconds: number;

  constructor({ server, drains, graceSeconds }: Standing) {
    this.packed = packServer(server);
    this.drains = drains.length === 0 ? noDrains : drains;
    this.graceSeconds = graceSeconds;
  }

  get server(): VirtualServer {
    return unpackServer(this.packed);
  }
}
