import { parseJson } from '../../../base/json/index.ts';
import { packServer, unpackServer } from '../packed.ts';
import type { PackedServer } from '../packed.ts';
import type { Refusal, Service, VirtualServer } from '../model.ts';
import { checkedPortOf, healthIdOf } from './health/checks.ts';
import type { Drain, Standing } from './drains.ts';

/** A service that stands, with what is known of it. */
export interface Held {
  readonly source: string;
  /** Read anew each time that it is asked for: only the text is kept. */
  readonly service: Service;
  /** The service as it is on the disk. */
  readonly document: string;
  /** Addresses. */
  readonly drained: ReadonlySet<string>;
  /** By `healthIdOf`. */
  readonly unwell: ReadonlySet<string>;
  /** Why the balancer of now does not have it. */
  readonly refusal?: Refusal;
}

/** One for all services that have none of something. */
const nothing: ReadonlySet<string> = new Set();

const orNothing = (set: ReadonlySet<string>): ReadonlySet<string> => (set.size === 0 ? nothing : set);

/** As {@link Held}; a service among thousands costs its text. */
export class HeldService implements Held {
  readonly source: string;
  readonly document: string;
  drained = nothing;
  unwell = nothing;
  refusal?: Refusal;

  constructor(source: string, document: string) {
    this.source = source;
    this.document = document;
  }

  get service(): Service {
    return parseJson(this.document) as Service;
  }

  mark(state: 'drained' | 'unwell', entry: string, is: boolean): void {
    const set = new Set(this[state]);
    if (is) set.add(entry);
    else set.delete(entry);
    this[state] = orNothing(set);
  }
}

/** What checks found of backends that the service still has. Pure. */
export function unwellThatStay(before: Held | undefined, service: Service): ReadonlySet<string> {
  if (before === undefined || before.unwell.size === 0 || service.healthCheck === undefined) return nothing;
  const ids = new Set(service.backends.map((backend) => healthIdOf(backend, checkedPortOf(service))));
  return new Set([...before.unwell].filter((id) => ids.has(id)));
}

const noDrains: readonly Drain[] = Object.freeze([]);

/** As {@link Standing}, whose server is text until it is asked for. */
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
