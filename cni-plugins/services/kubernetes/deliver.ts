import { setImmediate as nextTurn } from 'node:timers/promises';
import { reasonOf } from '../../../base/errors/index.ts';
import { giveAllMemoryBack, giveMemoryBack } from '../model/memory.ts';
import type { PortionControl, Service } from '../model/model.ts';
import type { Changes } from './delivered-state.ts';
import { createRefusedServices } from './refused-services.ts';
import type { ServiceTable } from './table.ts';

/** The name of the Kubernetes source among the sources of a host's services. */
const source = 'kubernetes';

export interface DeliverTiming {
  /**
   * The least time between two deliveries, in ms. A change after a quiet time is delivered at once, and those
   * that follow it are delivered together: the pods of one roll-out step.
   */
  readonly gather: number;
  /** A refused service is put again after this time, in ms: the conflict may be gone. */
  readonly retryRefused: number;
  /** Delay after a failed call of the control, in ms. */
  readonly retryFailed: number;
}

/**
 * Number of Kubernetes services in one call: thousands at once would leave garbage many times the size of the
 * live data, and each call waits for the disk.
 */
const portion = 200;

/**
 * After this many services, garbage is collected at once. A collection stops the thread for up to a tenth of
 * a second, which the usual changes of a busy cluster must not cause each time.
 */
const many = 10 * portion;

export const usualDelivery: DeliverTiming = { gather: 20, retryRefused: 10_000, retryFailed: 1000 };

/**
 * Brings the table's services to the control, one call at a time. Changes that arrive meanwhile go with the
 * next call.
 */
export interface Delivery {
  /** Reports that something changed. */
  poke(): void;
  /** Returns since when (`performance.now()`) changes wait to be in force. Undefined: none do. */
  waitingSince(): number | undefined;
  /** Returns the names of our services that are refused. */
  refused(): readonly string[];
  close(): void;
}

type Log = {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
};

/**
 * Delivers nothing before both lists are complete. Then it removes what is gone first, so that services in
 * force from before a restart are never interrupted.
 * @param delivered called after each successful call of the control
 */
export function createDelivery(
  table: ServiceTable,
  control: PortionControl,
  log: Log,
  delivered: () => void,
  timing: DeliverTiming = usualDelivery,
): Delivery {
  /** The control has only services of the table, and gets their changes. */
  let retained = false;
  let busy = false;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let immediate: NodeJS.Immediate | undefined;
  let timerAt = Infinity;
  let waiting: number | undefined;
  /** The control expects another portion. */
  let isContinued = false;
  /** When the last delivery ended (`performance.now()`). */
  let deliveredAt = -Infinity;
  const refused = createRefusedServices(log);

  function schedule(ms: number): void {
    const at = performance.now() + ms;
    if (closed || at >= timerAt) return;
    cancel();
    timerAt = at;
    const begin = (): void => {
      timerAt = Infinity;
      void run();
    };
    // A timer would wait for at least a millisecond.
    if (ms > 0) timer = setTimeout(begin, ms);
    else immediate = setImmediate(begin);
  }

  function cancel(): void {
    clearTimeout(timer);
    clearImmediate(immediate);
  }

  const isClosed = (): boolean => closed;

  async function run(): Promise<void> {
    if (busy || closed || !table.complete()) return;
    busy = true;
    try {
      if (!retained) await retain(table.markAllUndelivered());
      const leavesGarbage = await inPortions(table, isClosed, (changes, isFollowed) => {
        logNotes(changes, log);
        return change(changes, isFollowed);
      });
      // The last portions made no difference, so none of them ended what began before.
      if (isContinued) await put([], false);
      await putAgain();
      refused.report();
      delivered();
      waiting = table.pending() > 0 ? performance.now() : undefined;
      if (table.pending() > 0) schedule(timing.gather);
      else if (refused.size() > 0) schedule(timing.retryRefused);
      if (leavesGarbage) setImmediate(giveAllMemoryBack);
    } catch (thrown) {
      // It is unknown which part of the call was done, so everything is delivered again.
      retained = false;
      log.warn({ why: reasonOf(thrown) }, 'Kubernetes services could not be applied; retrying');
      schedule(timing.retryFailed);
    } finally {
      busy = false;
      deliveredAt = performance.now();
    }
  }

  async function retain(names: readonly string[]): Promise<void> {
    await control.retain(source, names);
    if (refused.size() > 0) refused.retain(new Set(names));
    retained = true;
  }

  async function change({ put: changed, remove }: Changes, isFollowed: boolean): Promise<void> {
    // Removals make room for additions.
    if (remove.length > 0) await control.remove(source, remove);
    for (const name of remove) refused.delete(name);
    if (changed.length > 0) await put(changed, isFollowed);
  }

  /** @param isFollowed another portion may follow, which is computed while the kernel takes this one */
  async function put(services: readonly Service[], isFollowed: boolean): Promise<void> {
    isContinued = isFollowed;
    refused.settle(services, await control.put(source, services, isFollowed));
  }

  /**
   * Puts refused services again, because a conflicting service may have come after them and be gone by now.
   * Repeats until no further service succeeds.
   */
  async function putAgain(): Promise<void> {
    for (let before = Infinity; refused.size() > 0 && refused.size() < before && !isClosed();) {
      before = refused.size();
      const again = refused.services();
      refused.settle(again, await control.put(source, again));
    }
  }

  return {
    poke() {
      const now = performance.now();
      waiting ??= now;
      // The other changes of the same chunk of the watch go with it.
      schedule(Math.max(0, deliveredAt + timing.gather - now));
    },
    waitingSince: () => waiting,
    refused: () => refused.names(),
    close() {
      closed = true;
      cancel();
    },
  };
}

/**
 * Delivers what is pending now, one portion after another.
 * @returns whether there is so much garbage that it is collected at once
 */
async function inPortions(
  table: ServiceTable,
  isClosed: () => boolean,
  deliver: (changes: Changes, isFollowed: boolean) => Promise<void>,
): Promise<boolean> {
  let left = table.pending();
  let leavesGarbage = left > many;
  while (left > 0 && !isClosed()) {
    const { taken, hasLarge, ...changes } = table.changes(portion);
    left -= taken;
    leavesGarbage ||= hasLarge;
    await deliver(changes, left > 0);
    if (left > 0) await tidy();
  }
  return leavesGarbage;
}

/**
 * Frees the garbage of the previous portion, which would otherwise stay in memory while the next one is
 * built.
 */
async function tidy(): Promise<void> {
  await nextTurn();
  giveMemoryBack();
}

function logNotes({ notes }: Changes, log: Log): void {
  for (const [service, sentences] of notes) {
    if (sentences.length === 0) log.info({ service }, 'a Kubernetes service is now served as specified');
    for (const why of sentences)
      log.warn({ service, why }, 'a Kubernetes service is not served as specified');
  }
}
