import type { Ownership } from './ownership/ownership.ts';

export interface AgentLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Returns a function that logs claims of hosts that are refused, each once. */
export function createRefusalLog({ refused }: Pick<Ownership, 'refused'>, log: AgentLog): () => void {
  let reported: ReadonlySet<string> = new Set();
  return () => {
    const current = new Set(refused.keys());
    const fresh = [...current].filter((key) => !reported.has(key));
    reported = current;
    if (fresh.length > 0)
      log.warn(
        {
          refused: fresh.slice(0, 10).map((key) => `${key}: ${refused.get(key) ?? ''}`),
          count: fresh.length,
        },
        'some records of other hosts in etcd are ignored; the others apply',
      );
  };
}
