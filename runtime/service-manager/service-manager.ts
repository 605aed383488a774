import { reasonOf } from '../../base/errors/index.ts';
import { sendDatagram } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';

/**
 * Notifies the process that started the daemon, if that is a service manager such as systemd. Otherwise every
 * call does nothing.
 */
export interface ServiceManager {
  /** The daemon serves. From now on it notifies the watchdog, if the manager set one. */
  ready(): void;
  /** The daemon ends, which may take time. It no longer notifies the watchdog. */
  stopping(): void;
}

/**
 * Implements the protocol of sd_notify(3): lines `KEY=VALUE` in one datagram to $NOTIFY_SOCKET. A watchdog
 * (sd_watchdog_enabled(3): $WATCHDOG_USEC, $WATCHDOG_PID) is notified twice in each period, from the main
 * thread and only while the daemon is healthy. A daemon that hangs, or whose essential components do not
 * answer, is killed and restarted. Its containers keep running meanwhile.
 * @param healthy reports whether the components without which the daemon cannot work answer
 */
export function openServiceManager(parts: {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly healthy: () => Promise<{
    readonly healthy: boolean;
    readonly checks: Readonly<Record<string, string>>;
  }>;
  readonly log: Pick<Logger, 'warn'>;
}): ServiceManager {
  const { environment, log } = parts;
  const address = environment['NOTIFY_SOCKET'] ?? '';
  // Any other address has a family that unix sockets cannot reach (vsock, for whole machines).
  const isManaged = address.startsWith('/') || address.startsWith('@');
  const report = (lines: string): void => {
    if (!isManaged) return;
    try {
      sendDatagram(address, Buffer.from(lines));
    } catch (cause) {
      log.warn({ cause: reasonOf(cause) }, 'the service manager cannot be notified');
    }
  };
  const feed = async (): Promise<void> => {
    const { healthy, checks } = await parts.healthy();
    if (healthy) report('WATCHDOG=1');
    else {
      log.warn({ checks }, 'not healthy: the watchdog is not notified');
      report(`STATUS=not healthy: ${unhealthy(checks)}`);
    }
  };
  const period = watchdogPeriodMs(environment, parts.pid);
  let timer: NodeJS.Timeout | undefined;
  return {
    ready: () => {
      report(`READY=1\nSTATUS=serving CRI v1\nMAINPID=${parts.pid}`);
      if (isManaged && period !== undefined && timer === undefined)
        timer = setInterval(() => void feed(), period / 2).unref();
    },
    stopping: () => {
      clearInterval(timer);
      report('STOPPING=1\nSTATUS=stopping; containers go on');
    },
  };
}

/**
 * Returns the period in ms in which the manager expects a notification from the process with this pid.
 * Undefined if it expects none. Pure.
 */
export function watchdogPeriodMs(
  environment: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | undefined {
  const microseconds = environment['WATCHDOG_USEC'] ?? '';
  const meant = environment['WATCHDOG_PID'];
  if (!/^[1-9]\d*$/.test(microseconds) || (meant !== undefined && meant !== String(pid))) return undefined;
  return Number(microseconds) / 1000;
}

/** In one line, because a line break would begin another key. */
function unhealthy(checks: Readonly<Record<string, string>>): string {
  return Object.entries(checks)
    .filter(([, result]) => result !== 'ok')
    .map(([name, result]) => `${name} (${result.replaceAll(/\s+/g, ' ')})`)
    .join(', ')
    .slice(0, 400);
}
