/** Pods and containers that plugins were asked about and that are not recorded as created yet. */
export interface Ongoing {
  begin(id: string): void;
  end(id: string): void;
  /** Resolves when those that are ongoing now have ended, or after a time in ms. */
  settled(timeoutMs: number): Promise<void>;
}

/** How long a creation counts as ongoing, if nothing reports its end. */
const longestMs = 60_000;

/**
 * A plugin that connects learns of every pod and container once: those that other plugins were asked about
 * before it connected are awaited, so that they are among those that it is synchronized with.
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
