/** Pods and containers about which plugins were asked, and which are not recorded as created yet. */
export interface Ongoing {
  begin(id: string): void;
  end(id: string): void;
  /** Resolves when all creations that are ongoing now have ended, or after a time in ms. */
  settled(timeoutMs: number): Promise<void>;
}

/** How long a creation counts as ongoing if nothing reports its end. */
const longestMs = 60_000;

/**
 * A plugin that connects gets each pod and container once. If other plugins were asked about a pod or
 * container before it connected, the synchronization waits until this creation has ended, and then includes
 * the result.
 */
export function createOngoing(): Ongoing {
  const all = new Map<string, { readonly ended: Promise<void>; readonly end: () => void }>();
  const end = (id: string): void => all.get(id)?.end();
  return {
    begin: (id) => {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      const timer = setTimeout(() => end(id), longestMs).unref();
      all.set(id, {
        ended: promise,
        end: () => {
          clearTimeout(timer);
          all.delete(id);
          resolve(undefined);
        },
      });
    },
    end,
    settled: async (timeoutMs) => {
      const late = Promise.withResolvers<undefined>();
      const timer = setTimeout(() => late.resolve(undefined), timeoutMs);
      await Promise.race([late.promise, Promise.all([...all.values()].map(({ ended }) => ended))]);
      clearTimeout(timer);
    },
  };
}
