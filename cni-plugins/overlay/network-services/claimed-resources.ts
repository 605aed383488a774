/** Which service has each resource of one kind: virtual addresses, or ingress ports. Pure. */
export interface ClaimedResources {
  claim(resource: string, service: string): void;
  release(resource: string): void;
  /** Releases the resources for which it returns true. */
  releaseWhere(isOver: (resource: string, service: string) => boolean): void;
  holder(resource: string): string | undefined;
  /** Returns the resources of the service, in order. */
  of(service: string): readonly string[];
}

/** @param touch called with each service that gets or loses a resource @param before the last known claims */
export function createClaimedResources(
  touch: (service: string) => void,
  before: Iterable<readonly [resource: string, service: string]>,
): ClaimedResources {
  const holders = new Map<string, string>(before);
  const touchHolder = (resource: string): void => {
    const holder = holders.get(resource);
    if (holder !== undefined) touch(holder);
  };
  const release = (resource: string): void => {
    touchHolder(resource);
    holders.delete(resource);
  };
  return {
    claim(resource, service) {
      touchHolder(resource);
      touch(service);
      holders.set(resource, service);
    },
    release,
    releaseWhere(isOver) {
      for (const [resource, service] of holders) if (isOver(resource, service)) release(resource);
    },
    holder: (resource) => holders.get(resource),
    of: (service) =>
      [...holders].flatMap(([resource, holder]) => (holder === service ? [resource] : [])).toSorted(),
  };
}
