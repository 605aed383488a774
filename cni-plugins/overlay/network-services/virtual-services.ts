import type { VirtualRecord } from '../records/service-records.ts';

/**
 * The services in etcd, and services that etcd lost although they did not end: after a restore, hosts with
 * members write their services again. Pure.
 */
export interface VirtualServices {
  put(name: string, record: VirtualRecord): void;
  /** The service has ended. */
  end(name: string): void;
  /**
   * Processes the services that etcd lists. A service that is no longer listed has ended, or is lost if it is
   * in use.
   */
  listed(isPresent: (name: string) => boolean, isUsed: (name: string) => boolean): void;
  /** Ends lost services that are not in use. @returns their names */
  endLost(isUsed: (name: string) => boolean): readonly string[];
  isLost(name: string): boolean;
  /** Returns undefined when there is no service of that name. */
  record(name: string): VirtualRecord | undefined;
  all(): Iterable<readonly [name: string, record: VirtualRecord]>;
}

/** @param touch called with each service that changes @param before the last known services */
export function createVirtualServices(
  touch: (name: string) => void,
  before: ReadonlyMap<string, VirtualRecord>,
): VirtualServices {
  const services = new Map<string, VirtualRecord>();
  const lost = new Set<string>();
  for (const [name, { mode, owner, addresses }] of before)
    services.set(name, { mode, ...(owner !== undefined && { owner }), addresses });

  const end = (name: string): void => {
    services.delete(name);
    lost.delete(name);
    touch(name);
  };
  return {
    put(name, record) {
      services.set(name, record);
      lost.delete(name);
      touch(name);
    },
    end,
    listed(isPresent, isUsed) {
      for (const name of services.keys()) {
        if (isPresent(name)) continue;
        if (isUsed(name)) lost.add(name);
        else end(name);
      }
    },
    endLost(isUsed) {
      const ended = [...lost].filter((name) => !isUsed(name));
      for (const name of ended) end(name);
      return ended;
    },
    isLost: (name) => lost.has(name),
    record: (name) => services.get(name),
    all: () => services,
  };
}
