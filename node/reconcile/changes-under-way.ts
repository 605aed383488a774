import { setTimeout as pause } from 'node:timers/promises';
import type { Change, Item } from '../model/types.ts';

/** Makes the changes of one section. */
export interface ChangesUnderWay {
  /** Returns the items that change now: what is observed meanwhile says nothing about them. */
  names(): ReadonlySet<string>;
  /** Aborts the changes to items that are not among these, or are other ones there. */
  stopOthers(desired: ReadonlyMap<string, Item>): void;
  /**
   * Makes changes of items that do not change yet, in their order. If several items may change at once,
   * returns after a short time although some of the created and updated ones still change.
   * @param desired the items after the changes
   * @param makeOne must not reject
   * @param mayGoOn asked before each change
   * @returns whether changes are left that had no turn
   */
  make(
    changes: readonly Change[],
    desired: ReadonlyMap<string, Item>,
    makeOne: (change: Change, item: Item | undefined, signal: AbortSignal) => Promise<void>,
    mayGoOn: () => boolean,
  ): Promise<boolean>;
  /** Resolves when one of the items that change now has changed; never, if none changes. */
  oneEnded(): Promise<void>;
  /** Reports whether one more item may change now. */
  hasPlace(): boolean;
  /** Resolves when no item changes any more. */
  ended(): Promise<void>;
}

interface Running {
  readonly item: Item | undefined;
  readonly stop: AbortController;
  readonly made: Promise<void>;
}

/** How long changes of several items are waited for. Those of the usual kind end sooner. */
const waitMs = 1000;

/** @param atOnce the most items that change at once; undefined: one after the other, each to its end */
export function createChangesUnderWay(atOnce: number | undefined): ChangesUnderWay {
  const running = new Map<string, Running>();

  return {
    names: () => new Set(running.keys()),
    stopOthers(desired) {
      for (const [name, { item, stop }] of running)
        if (item?.fingerprint !== desired.get(name)?.fingerprint)
          stop.abort(new Error('another state does not want it'));
    },
    async make(changes, desired, makeOne, mayGoOn) {
      let isOver = false;
      const work = async (left: Change[]): Promise<void> => {
        for (;;) {
          const change = isOver || !mayGoOn() ? undefined : left.shift();
          if (change === undefined) return;
          const { name } = change;
          const [item, stop] = [desired.get(name), new AbortController()];
          const made = makeOne(change, item, stop.signal).finally(() => running.delete(name));
          running.set(name, { item, stop, made });
          await made;
        }
      };
      if (atOnce === undefined) {
        await work([...changes]);
        return false;
      }
      const workIn = (places: number, left: Change[]): Promise<unknown> =>
        Promise.all(Array.from({ length: Math.min(left.length, places) }, () => work(left)));
      const deletions = changes.filter(({ action }) => action === 'delete');
      // They free what a new item may need: new items wait for their end, and they wait for no creation.
      await workIn(Math.max(1, atOnce - running.size), deletions);
      const left = changes.filter(({ action }) => action !== 'delete');
      const ended = new AbortController();
      const all = workIn(atOnce - running.size, left).finally(() => ended.abort());
      await Promise.race([all, pause(waitMs, undefined, { signal: ended.signal }).catch(() => undefined)]);
      isOver = true;
      return left.length > 0;
    },
    async oneEnded() {
      if (running.size === 0) return new Promise(() => undefined);
      await Promise.race([...running.values()].map(({ made }) => made));
    },
    hasPlace: () => running.size < (atOnce ?? 1),
    async ended() {
      await Promise.all([...running.values()].map(({ made }) => made));
    },
  };
}
