import type { Logger } from '../../../base/log/index.ts';
import { mostBalanced } from './plan.ts';

/**
 * Logs problems of services, each once until it changes or is over. A problem is over when a look ends that
 * did not find it.
 */
export interface ServiceProblems {
  beginLook(): void;
  notInForce(service: string, why: string, code: string): void;
  /** There is nothing to retry: the condition ends when members leave. */
  crowded(service: string): void;
  /** No retry is needed: the service is in force, or a later look finds the port free. */
  portClosed(service: string, why: string): void;
  endLook(): void;
}

export function createServiceProblems(log: Pick<Logger, 'warn'>): ServiceProblems {
  /** Reasons that were logged, by problem. */
  const reported = new Map<string, string>();
  /** Problems that this look found. */
  const failing = new Set<string>();

  const isNew = (key: string, why = ''): boolean => {
    failing.add(key);
    if (reported.get(key) === why) return false;
    reported.set(key, why);
    return true;
  };

  return {
    beginLook: () => failing.clear(),
    notInForce(service, why, code) {
      if (isNew(service, why))
        log.warn({ service, why, code }, 'a network service is not in force; retrying');
    },
    crowded(service) {
      if (isNew(`${service} crowded`))
        log.warn(
          { service },
          `a network service has more than ${mostBalanced} members: only some of them get connections from this host`,
        );
    },
    portClosed(service, why) {
      if (isNew(`${service} ${why}`))
        log.warn(
          { service, why, code: 'NETWORK_SERVICE_INGRESS_CLOSED' },
          'an ingress port of a network service is not published as its members request',
        );
    },
    endLook() {
      for (const key of reported.keys()) if (!failing.has(key)) reported.delete(key);
    },
  };
}
