import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
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

/** @param clock milliseconds, of any beginning, that never go back */
export function createUpkeep(core: ServiceCore, log: Pick<Logger, 'error' | 'warn'>, now: () => number, clock: () => number): Upkeep {
  let repaired = 0;
  let compareAt = clock() + compareEveryMs;
  let countAt = 0;
  let failing: string | undefined;

  /** Connections of drains whose grace is over are ended, and their destinations leave the kernel. */
  const endDue = (): void => {
    const due = dueOf(core.standings, core.ending, now());
    for (const { key, drains } of due) for (const drain of drains) core.balancer().cut(key, drain);
    if (due.length > 0) core.end(due);
  };

  /** Destinations that nothing is connected to any more leave before their time. */
  const endIdle = (): void => {
    if (core.ending.size === 0 || clock() < countAt) return;
    const begun = clock();
    const idle: { key: ServerKey; drains: Drain[] }[] = [];
    for (const { key, destinations } of core.balancer().counts()) {
      if (!core.ending.has(key)) continue;
      const active = new Map(destinations.map((each) => [`${each.address} ${each.port}`, each.active]));
      const drains = (core.standings.get(key)?.drains ?? []).filter(
        ({ address, port, over: isOver }) => !isOver && active.get(`${address} ${port}`) === 0,
      );
      if (drains.length > 0) idle.push({ key, drains });
    }
    countAt = clock() + Math.max(countEveryMs, compareShare * (clock() - begun));
    if (idle.length > 0) core.end(idle);
  };

  const compare = (): void => {
    const changed = core.balancer().changedByOthers?.() === true || clock() >= compareAt;
    if (!core.isBehind() && !changed) return;
    const begun = clock();
    const wasBehind = core.isBehind();
    const differed = core.balancer().reconcile([...core.standings.values()].map(({ server }) => server));
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
