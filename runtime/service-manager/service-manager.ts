import { reasonOf } from '../../base/errors/index.ts';
import { sendDatagram } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';

/** What the daemon tells whoever started it, when that is a service manager such as systemd; else every call does nothing. */
export interface ServiceManager {
  /** It serves. From now on the watchdog is fed, if the manager set one. */
  ready(): void;
  /** It ends, which may take its time: no watchdog from here on. */
  stopping(): void;
}

/**
 * Speaks the protocol of sd_notify(3): lines `KEY=VALUE` in one datagram to $NOTIFY_SOCKET. With a watchdog (sd_watchdog_enabled(3):
 * $WATCHDOG_USEC, $WATCHDOG_PID) it is fed twice in each period, from the main thread and only while the daemon is healthy: a daemon
 * that hangs, or whose parts do not answer, is killed and started again, and its containers go on meanwhile.
 * @param healthy whether the parts without which the daemon can not work answer
 */
export function openServiceManager(parts: {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly healthy: () => Promise<{ readonly healthy: boolean; readonly checks: Readonly<Record<string, string>> }>;
  readonly log: Pick<Logger, 'warn'>;
}): ServiceManager {
  const { environment, log } = parts;
  const address = environment['NOTIFY_SOCKET'] ?? '';
  // Anything else is an address family that unix sockets can not reach (vsock, for whole machines).
  const isManaged = address.startsWith('/') || address.startsWith('@');
  const tell = (lines: string): void => {
    if (!isManaged) return;
    try {
      sendDatagram(address, Buffer.from(lines));
    } catch (cause) {
      log.warn({ cause: reasonOf(cause) }, 'the service manager can not be told');
    }
  };
  const feed = async (): Promise<void> => {
    const { healthy, checks } = await parts.healthy();
    if (healthy) tell('WATCHDOG=1');
    else {
      log.warn({ checks }, 'not healthy: the watchdog is not fed');
      tell(`STATUS=not healthy: ${unhealthy(checks)}`);
    }
  };
  const period = watchdogPeriodMs(environment, parts.pid);
  let timer: NodeJS.Timeout | undefined;
  return {
    ready: () => {
      tell(`READY=1\nSTATUS=serving CRI v1\nMAINPID=${parts.pid}`);
      if (isManaged && period !== undefined && timer === undefined) timer = setInterval(() => void feed(), period / 2).unref();
    },
    stopping: () => {
      clearInterval(timer);
      tell('STOPPING=1\nSTATUS=stopping; containers go on');
    },
  };
}

/** The period in ms in which the manager wants to hear from the process of this pid; undefined: it does not. Pure. */
export function watchdogPeriodMs(environment: Readonly<Record<string, string | undefined>>, pid: number): number | undefined {
  const microseconds = environment['WATCHDOG_USEC'] ?? '';
  const meant = environment['WATCHDOG_PID'];
  if (!/^[1-9]\d*$/.test(microseconds) || (meant !== undefined && meant !== String(pid))) return undefined;
  return Number(microseconds) / 1000;
}

/** In one line: a line break would begin another key. */
function unhealthy(checks: Readonly<Record<string, string>>): string {
  return Object.entries(checks)
    .filter(([, result]) => result !== 'ok')
    .map(([name, result]) => `${name} (${result.replaceAll(/\s+/g, ' ')})`)
    .join(', ')
    .slice(0, 400);
}
