import type { PublishedMember } from '../records/service-records.ts';

/**
 * Members on other hosts, by service and host. Members that are no longer in etcd are held until the hold
 * time is over. Pure except for the clock that is passed in.
 */
export interface RemoteMembers {
  put(service: string, host: string, members: readonly PublishedMember[]): void;
  /** The members of the host have left the service. */
  leave(service: string, host: string): void;
  /**
   * The members of the host are no longer in etcd. Members that are already held keep their end of the hold
   * time.
   */
  hold(service: string, host: string, now: number): void;
  /** Members that a host did not write again when it came back have left. */
  returned(host: string): void;
  /** Drops members that were held for the hold time. */
  expire(now: number): void;
  /** Returns undefined when nothing is held. */
  nextExpiry(): number | undefined;
  has(service: string, host?: string): boolean;
  /** Returns the members by host name, in order. */
  of(service: string): ReadonlyMap<string, readonly PublishedMember[]>;
  /** Goes through all services and their hosts. `leave` and `hold` may be called meanwhile. */
  all(): Iterable<readonly [service: string, host: string]>;
}

/** Members of one host that are no longer in etcd. */
interface Held {
  readonly service: string;
  readonly host: string;
  readonly goneAt: number;
}

/** @param touch called with each service whose members change @param before the last known members */
export function createRemoteMembers(
  holdMs: number,
  touch: (service: string) => void,
  before: ReadonlyMap<string, { readonly members: ReadonlyMap<string, readonly PublishedMember[]> }>,
): RemoteMembers {
  const members = new Map<string, Map<string, readonly PublishedMember[]>>();
  /** In order of time. */
  const held = new Map<string, Held>();
  for (const [service, { members: given }] of before) members.set(service, new Map(given));

  const heldKey = (service: string, host: string): string => `${service}/${host}`;
  const leave = (service: string, host: string): void => {
    held.delete(heldKey(service, host));
    if (members.get(service)?.delete(host) === true) touch(service);
    if (members.get(service)?.size === 0) members.delete(service);
  };

  return {
    put(service, host, given) {
      const ofService = members.get(service) ?? new Map<string, readonly PublishedMember[]>();
      members.set(service, ofService.set(host, given));
      held.delete(heldKey(service, host));
      touch(service);
    },
    leave,
    hold(service, host, now) {
      if (!held.has(heldKey(service, host))) held.set(heldKey(service, host), { service, host, goneAt: now });
    },
    returned(host) {
      for (const each of held.values()) if (each.host === host) leave(each.service, host);
    },
    expire(now) {
      for (const { service, host, goneAt } of held.values()) {
        if (now - goneAt < holdMs) break;
        leave(service, host);
      }
    },
    nextExpiry() {
      const [first] = held.values();
      return first && first.goneAt + holdMs;
    },
    has: (service, host) =>
      host === undefined ? members.has(service) : members.get(service)?.has(host) === true,
    of: (service) => new Map([...(members.get(service) ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    *all() {
      for (const [service, known] of members) for (const host of known.keys()) yield [service, host] as const;
    },
  };
}
