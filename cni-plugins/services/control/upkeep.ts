import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { giveMemoryBack } from '../memory.ts';
import type { ServerKey } from '../model.ts';
import type { ServiceCore } from './core.ts';
import { dueOf } from './drains.ts';
import type { Drain } from './drains.ts';

/** What is done once a second, while there is any service. */
export interface Upkeep {
  tick(): void;
  /** How often the kernel held something else than it should, and was brought back. */
  repairs(): number;
}

/** Also without a word from the balancer the kernel is compared this often, and never for more than a fiftieth of the time. */
const compareEveryMs = 60_000;
const compareShare = 50;
/** How often it is asked whether connections that end have ended, at most. */
const countEveryMs = 2000;

/** Virtual servers that are changed at once. */
const portion = 100;

/** @param clock milliseconds, of any beginning, that never go back */
export function createUpkeep(core: ServiceCore, log: Pick<Logger, 'error' | 'warn'>, now: () => number, clock: () => number): Upkeep {
  let repaired = 0;
  let compareAt = clock() + compareEveryMs;
  let countAt = 0;
  let failing: string | undefined;

  /** Connections of drains whose grace is over are ended, and their destinations leave the kernel. */
  const endDue = (): void => {
    const due = dueOf(core.standings, core.ending, now());
    if (due.length === 0) return;
    const activeOf = activeConnections(new Set(due.map(({ key }) => key)));
    // A cut walks all connections of the host: only where there is one to end.
    for (const { key, drains } of due) for (const drain of drains) if (activeOf(key, drain) !== 0) core.balancer().cut(key, drain);
    end(due);
  };

  /** In portions: all that ended after a busy minute at once would be garbage many times what is kept of it. */
  const end = (ended: Parameters<ServiceCore['end']>[0]): void => {
    for (let from = 0; from < ended.length; from += portion) {
      core.end(ended.slice(from, from + portion));
      giveMemoryBack();
    }
  };

  /** How many stand now, by what is kept of a destination; undefined: it is not known. */
  const activeConnections = (
    keys: ReadonlySet<ServerKey>,
  ): ((key: ServerKey, place: Pick<Drain, 'address' | 'port'>) => number | undefined) => {
    const active = new Map<string, number>();
    for (const { key, destinations } of core.balancer().counts(keys))
      if (keys.has(key)) for (const each of destinations) active.set(`${key} ${each.address} ${each.port}`, each.active);
    return (key, { address, port }) => active.get(`${key} ${address} ${port}`);
  };

  /** Destinations that nothing is connected to any more leave before their time. */
  const endIdle = (): void => {
    if (core.ending.size === 0 || clock() < countAt) return;
    const begun = clock();
    const activeOf = activeConnections(core.ending);
    const idle: { key: ServerKey; drains: Drain[] }[] = [];
    for (const key of core.ending) {
      const drains = (core.standings.get(key)?.drains ?? []).filter((drain) => !drain.over && activeOf(key, drain) === 0);
      if (drains.length > 0) idle.push({ key, drains });
    }
    countAt = clock() + Math.max(countEveryMs, compareShare * (clock() - begun));
    end(idle);
  };

  const compare = (): void => {
    const changed = core.balancer().changedByOthers?.() === true || clock() >= compareAt;
    if (!core.isBehind() && !changed) return;
    const begun = clock();
    const wasBehind = core.isBehind();
    const differed = core.balancer().reconcile(core.servers);
    core.caughtUp();
    compareAt = clock() + Math.max(compareEveryMs, compareShare * (clock() - begun));
    if (differed === 0 || wasBehind) return;
    repaired += differed;
    log.warn({ differed }, 'virtual servers were not as they were made: another program changed them; they were made anew');
  };

  return {
    tick() {
      try {
        if (core.held.size > 0 || core.standings.size > 0 || core.isBehind()) {
          endDue();
          endIdle();
          compare();
        }
        core.balancer().tick();
        failing = undefined;
      } catch (thrown) {
        const why = reasonOf(thrown);
        if (why !== failing) log.error({ why }, 'services could not be brought to the kernel; it is tried again each second');
        failing = why;
      }
    },
    repairs: () => repaired,
  };
}
