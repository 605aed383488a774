import { parseIp } from '../spec/address.ts';
import type { IpAddress } from '../spec/address.ts';

/** Which name servers are asked, in which order, and when. Pure. */

/** As resolv.conf(5) has them. What is no address, or one that needs a zone (`fe80::1%eth0`), is passed over. */
export function nameserversIn(resolvConf: string): IpAddress[] {
  return resolvConf.split('\n').flatMap((line) => {
    const [word, address] = line.trim().split(/\s+/u);
    return word === 'nameserver' ? (parseIp(address ?? '') ?? []) : [];
  });
}

/** What is known of a server's health. */
export interface Health {
  /** Questions in a row that it did not answer in time, or could not. */
  readonly failures: number;
  /** When the last of them ended, in milliseconds. */
  readonly failedAt: number;
}

const failuresUntilDown = 3;
/** For so long a server that is down is asked after the others. */
const downMs = 10_000;

export const isDown = (health: Health | undefined, now: number): boolean =>
  health !== undefined && health.failures >= failuresUntilDown && now - health.failedAt < downMs;

/** In the order given, but those that are down at the end: they are still asked, which is how they are found well again. */
export function inOrder<T>(servers: readonly T[], healthOf: (server: T) => Health | undefined, now: number): readonly T[] {
  const down = servers.filter((server) => isDown(healthOf(server), now));
  return down.length === 0 || down.length === servers.length ? servers : [...servers.filter((server) => !down.includes(server)), ...down];
}

/**
 * When the next server is asked as well, while nobody has answered; the last time is when the asker is told that nobody can. Resolvers wait five
 * seconds for an answer (glibc, musl, busybox), docker's forwards four.
 */
export interface Schedule {
  readonly askAgainMs: readonly number[];
  readonly deadlineMs: number;
}

const patient: Schedule = { askAgainMs: [400, 800, 1400, 2200], deadlineMs: 3000 };
/** All are down: they are still tried, but nobody waits long for it. */
const hasty: Schedule = { askAgainMs: [300, 600], deadlineMs: 1000 };

export const scheduleFor = (allDown: boolean): Schedule => (allDown ? hasty : patient);
