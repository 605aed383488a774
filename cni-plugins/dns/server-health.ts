import { formatIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { Health } from './upstreams.ts';

/** A record of the name servers that failed. A server without a record is healthy. */
export interface ServerHealth {
  of(server: IpAddress): Health | undefined;
  /** @param questions that it did not answer */
  failed(server: IpAddress, questions?: number): void;
  answered(server: IpAddress): void;
  /** Returns whether the server answered any question at or after this time. */
  answeredSince(server: IpAddress, time: number): boolean;
  /** Forgets servers that were not asked for a while. */
  rest(): void;
}

const rememberedMs = 60_000;

/** Creates an empty record of failures. */
export function createServerHealth(): ServerHealth {
  const failing = new Map<string, Health>();
  /** When servers answered last. */
  const answers = new Map<string, number>();
  return {
    of: (server) => failing.get(formatIp(server)),
    failed(server, questions = 1) {
      const name = formatIp(server);
      const failures = (failing.get(name)?.failures ?? 0) + questions;
      failing.set(name, { failures, failedAt: performance.now() });
    },
    answered(server) {
      const name = formatIp(server);
      failing.delete(name);
      answers.set(name, performance.now());
    },
    answeredSince: (server, time) => (answers.get(formatIp(server)) ?? -Infinity) >= time,
    rest() {
      const now = performance.now();
      for (const [name, { failedAt }] of failing) if (now - failedAt > rememberedMs) failing.delete(name);
      for (const [name, at] of answers) if (now - at > rememberedMs) answers.delete(name);
    },
  };
}
