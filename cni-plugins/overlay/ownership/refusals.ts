import type { Keys } from '../records/records.ts';

/** Why keys of etcd are ignored, by key. */
export interface Refusals {
  readonly all: ReadonlyMap<string, string>;
  refuse(key: string, why: string): void;
  /** The key is no longer refused. */
  lift(key: string): void;
  clear(): void;
}

/** Limits, so that one host can neither make this one hold unbounded data nor hide the keys of others. */
const most = { ofHost: 20, all: 10_000 } as const;

export function createRefusals({ readOwn }: Pick<Keys, 'readOwn'>): Refusals {
  const refused = new Map<string, string>();
  /** Number of refused keys. The keys that no host wrote under its own name count together. */
  const counts = new Map<string, number>();
  const hostOf = (key: string): string => readOwn(key)?.host ?? '';
  const add = (host: string, number: 1 | -1): void => {
    const count = (counts.get(host) ?? 0) + number;
    if (count === 0) counts.delete(host);
    else counts.set(host, count);
  };
  return {
    all: refused,
    refuse(key, why) {
      const host = hostOf(key);
      if (!refused.has(key)) {
        if (refused.size >= most.all || (counts.get(host) ?? 0) >= most.ofHost) return;
        add(host, 1);
      }
      refused.set(key, why);
    },
    lift(key) {
      if (refused.delete(key)) add(hostOf(key), -1);
    },
    clear() {
      refused.clear();
      counts.clear();
    },
  };
}
