import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { giveGarbageBack, giveMemoryBack } from '../model/memory.ts';
import type { ServerKey } from '../model/model.ts';
import type { ServiceCore } from './core.ts';
import { dueOf, prolongedOf } from './drains.ts';
import type { Drain } from './drains.ts';

/** The work done while there is any service. */
export interface Upkeep {
  /** Called once a second. */
  tick(): void;
  /** Called several times a second: repairs what another program changed. Cheap while nothing changes. */
  look(): void;
  /** Returns how many virtual servers differed from the wanted state and were repaired. */
  repairs(): number;
}

/**
 * The kernel is compared this often even if the balancer reports no change, and for at most a fiftieth of the
 * time.
 */
const compareEveryMs = 60_000;
const compareShare = 50;
/** The shortest interval between two checks whether ending connections have ended. */
const countEveryMs = 2000;

/** Virtual servers that are changed at once. */
const portion = 100;

/** @param clock monotonic milliseconds, from any start */
export function createUpkeep(
  core: ServiceCore,
  log: Pick<Logger, 'error' | 'warn'>,
  now: () => number,
  clock: () => number,
): Upkeep {
  let repaired = 0;
  let compareAt = clock() + compareEveryMs;
  let countAt = 0;
  let failing: string | undefined;
  /** Whether the last comparison failed: it may have removed what shows the balancer a change. */
  let isInterrupted = false;
  /**
   * Virtual servers whose last connections were cut. They stay for a second, and refuse the next segments of
   * these connections: at an address that is not served, the clients would get no reset, and wait
   * until they time out.
   */
  let lastRefusing: ReadonlySet<ServerKey> = new Set();

  /** Ends connections of drains whose grace period is over. Their destinations leave the kernel. */
  const endDue = (): void => {
    end(prolongedOf(core.standings, core.ending, now()).map((key) => ({ key, drains: [] })));
    const due = dueOf(core.standings, core.ending, now());
    const refusing =
      due.length === 0
        ? new Set<ServerKey>()
        : cutDue(core, due, activeConnections(core, new Set(due.map(({ key }) => key))));
    end(due.filter(({ key }) => !refusing.has(key) || lastRefusing.has(key)));
    lastRefusing = refusing;
  };

  /**
   * Works in portions: everything that ended after a busy minute would otherwise leave garbage many times the
   * size of the live data.
   */
  const end = (ended: Parameters<ServiceCore['end']>[0]): void => {
    for (let from = 0; from < ended.length; from += portion) {
      core.end(ended.slice(from, from + portion));
      giveMemoryBack();
    }
  };

  /** Removes destinations early if they have no connections any more. */
  const endIdle = (): void => {
    if (core.ending.size === 0 || clock() < countAt) return;
    const begun = clock();
    const activeOf = activeConnections(core, core.ending);
    const idle: { key: ServerKey; drains: Drain[] }[] = [];
    for (const key of core.ending) {
      if (lastRefusing.has(key)) continue;
      const drains = (core.standings.get(key)?.drains ?? []).filter(
        (drain) => !drain.over && activeOf(key, drain) === 0,
      );
      if (drains.length > 0) idle.push({ key, drains });
    }
    countAt = clock() + Math.max(countEveryMs, compareShare * (clock() - begun));
    end(idle);
  };

  const report = (differed: number): void => {
    if (differed === 0) return;
    repaired += differed;
    log.warn({ differed }, 'another program changed virtual servers; they were recreated');
  };

  const compare = (): void => {
    report(core.balancer().takeRepairs?.() ?? 0);
    const changed = core.balancer().changedByOthers?.() === true || clock() >= compareAt;
    if (!core.isBehind() && !changed && !isInterrupted) return;
    isInterrupted = true;
    const begun = clock();
    const wasBehind = core.isBehind();
    const restored = wasBehind || !changed ? undefined : core.balancer().restore?.();
    const differed = restored ?? core.balancer().reconcile(core.servers);
    core.caughtUp();
    isInterrupted = false;
    if (!wasBehind) report(differed);
    giveGarbageBack();
    compareAt = clock() + Math.max(compareEveryMs, compareShare * (clock() - begun));
  };

  const isServing = (): boolean => core.held.size > 0 || core.standings.size > 0 || core.isBehind();
  const trying = (act: () => void): void => {
    try {
      act();
      failing = undefined;
    } catch (thrown) {
      const why = reasonOf(thrown);
      if (why !== failing)
        log.error({ why }, 'services could not be applied to the kernel; retrying every second');
      failing = why;
    }
  };

  return {
    tick: () =>
      trying(() => {
        if (isServing()) {
          // A table that another program removed cannot be changed in part.
          compare();
          endDue();
          endIdle();
        }
        core.balancer().tick();
      }),
    look() {
      // After a failure, only the tick tries again.
      if (failing === undefined && isServing()) trying(compare);
    },
    repairs: () => repaired,
  };
}

/** Returns the number of established connections of a destination; undefined if it is unknown. */
type ActiveOf = (key: ServerKey, place: Pick<Drain, 'address' | 'port'>) => number | undefined;

function activeConnections(core: Pick<ServiceCore, 'balancer'>, keys: ReadonlySet<ServerKey>): ActiveOf {
  const active = new Map<string, number>();
  for (const { key, destinations } of core.balancer().counts(keys))
    if (keys.has(key))
      for (const each of destinations) active.set(`${key} ${each.address} ${each.port}`, each.active);
  return (key, { address, port }) => active.get(`${key} ${address} ${port}`);
}

/**
 * Cuts the connections of drains that are over. Returns the virtual servers that had connections, and of
 * which nothing is left without these drains.
 */
function cutDue(
  core: Pick<ServiceCore, 'balancer' | 'standings'>,
  due: ReturnType<typeof dueOf>,
  activeOf: ActiveOf,
): ReadonlySet<ServerKey> {
  const emptied = new Set<ServerKey>();
  for (const { key, drains } of due) {
    // A cut walks all connections of the host, so it runs only if there is a connection to end.
    const busy = drains.filter((drain) => activeOf(key, drain) !== 0);
    for (const drain of busy) core.balancer().cut(key, drain);
    const { destinations = [] } = core.standings.get(key)?.server ?? {};
    const isEmptied = destinations.every(({ address, port }) =>
      drains.some((drain) => drain.address === address && drain.port === port),
    );
    if (busy.length > 0 && isEmptied) emptied.add(key);
  }
  return emptied;
}
