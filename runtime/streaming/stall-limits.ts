/** How long the clients of a container may accept no output. */
export interface StallLimits {
  /**
   * Returns the milliseconds for a client that accepts no output at this moment.
   * @param resumedAt when it last accepted output again, after it had accepted none
   */
  of(container: string, resumedAt: number): number;
  /** Call this when a client was detached because it accepted no output for that long. */
  detached(container: string): void;
}

/**
 * The monitor of a container waits for each of its clients in turn: each client that does not read stops the
 * output of the container once. So each detached client halves the limit for the other clients, except those
 * that were slow since, and still read.
 * @param firstMs the limit for the first client
 * @param leastMs the limit for any other client is at least that
 * @param rememberMs a detached client is forgotten after that
 */
export function createStallLimits(
  { firstMs, leastMs, rememberMs }: Readonly<Record<'firstMs' | 'leastMs' | 'rememberMs', number>>,
  now: () => number = () => performance.now(),
): StallLimits {
  const detached = new Map<string, { readonly count: number; readonly at: number }>();
  const recent = (container: string, resumedAt = 0): number => {
    const { count, at } = detached.get(container) ?? { count: 0, at: 0 };
    return resumedAt <= at && now() < at + rememberMs ? count : 0;
  };
  return {
    of: (container, resumedAt) => Math.max(leastMs, firstMs / 2 ** recent(container, resumedAt)),
    detached: (container) => {
      const count = recent(container) + 1;
      for (const [other, { at }] of detached) if (at + rememberMs <= now()) detached.delete(other);
      detached.set(container, { count, at: now() });
    },
  };
}
