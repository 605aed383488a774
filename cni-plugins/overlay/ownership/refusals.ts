/** Why keys of etcd are ignored, by key. */
export interface Refusals {
  readonly all: ReadonlyMap<string, string>;
  refuse(key: string, why: string): void;
  /** The key is no longer refused. */
  lift(key: string): void;
  clear(): void;
}

/** Limit, so that one host cannot make this one hold unbounded data. */
const mostRefused = 1000;

export function createRefusals(): Refusals {
  const refused = new Map<string, string>();
  return {
    all: refused,
    refuse(key, why) {
      if (refused.size < mostRefused) refused.set(key, why);
    },
    lift: (key) => void refused.delete(key),
    clear: () => refused.clear(),
  };
}
