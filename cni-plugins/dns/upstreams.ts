import { parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';

/** Decides which name servers are asked, in which order, and when. Pure. */

/**
 * Returns the servers in the syntax of resolv.conf(5). An entry that is not an address, or that needs a zone
 * (`fe80::1%eth0`), is skipped.
 */
export function nameserversIn(resolvConf: string): IpAddress[] {
  return resolvConf.split('\n').flatMap((line) => {
    const [word, address] = line.trim().split(/\s+/u);
    return word === 'nameserver' ? (parseIp(address ?? '') ?? []) : [];
  });
}

/** The known health of a server. */
export interface Health {
  /** Consecutive questions that it did not answer in time, or could not answer. */
  readonly failures: number;
  /** When the last of them ended, in milliseconds. */
  readonly failedAt: number;
}

const failuresUntilDown = 3;
/** How long a failed server is asked after the others. */
const downMs = 10_000;

export const isDown = (health: Health | undefined, now: number): boolean =>
  health !== undefined && health.failures >= failuresUntilDown && now - health.failedAt < downMs;

/** Returns the servers in the given order, with those that are down at the end: the others may not answer. */
export function inOrder<T>(
  servers: readonly T[],
  healthOf: (server: T) => Health | undefined,
  now: number,
): readonly T[] {
  const down = servers.filter((server) => isDown(healthOf(server), now));
  return down.length === 0 || down.length === servers.length
    ? servers
    : [...servers.filter((server) => !down.includes(server)), ...down];
}

/**
 * When the next server is asked in addition, while there is no answer. At the deadline the asker gets a
 * failure. Resolvers wait five seconds for an answer (glibc, musl, busybox), and docker's forwards four.
 */
export interface Schedule {
  readonly askAgainMs: readonly number[];
  readonly deadlineMs: number;
}

const patient: Schedule = { askAgainMs: [400, 800, 1400, 2200], deadlineMs: 3000 };
/** All servers are down: they are still tried, but only for a short time. */
const hasty: Schedule = { askAgainMs: [300, 600], deadlineMs: 1000 };

export const scheduleFor = (allDown: boolean): Schedule => (allDown ? hasty : patient);
