import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Controller } from '../model/types.ts';
import type { DesiredState, NodeStatus } from '../store/node-files.ts';
import type { Records } from './records.ts';
import { createSectionKeeper } from './section-loop.ts';
import type { SectionKeeper } from './section-loop.ts';

/** Keeps the node in its desired state until it is closed. */
export interface Reconciler {
  /**
   * Takes another desired state, or a repeated request for the same one. The node is in its state only after
   * every section was compared once more. A change that runs is finished first, or aborted after its time;
   * where several items change at once, it is aborted if the other state does not want it.
   */
  use(desired: DesiredState): void;
  desired(): DesiredState | undefined;
  status(): Omit<NodeStatus, 'group' | 'problem'>;
  /** Since when the node is in the state, in ms of `performance.now()`; undefined while it is not. */
  convergedSince(): number | undefined;
  /** Calls back when a pass ended. Returns unsubscribe. */
  onPass(listener: () => void): () => void;
  /** Aborts what runs, and waits for its end. */
  close(): Promise<void>;
}

interface Options {
  readonly controllers: readonly Controller[];
  readonly records: Records;
  readonly log: Logger;
  /** Time between two observations of a section, in ms. */
  readonly intervalMs: number;
}

/** Returns the request for a state: the same state may be requested again. */
const requestOf = (desired: DesiredState | undefined): string | undefined =>
  desired && `${desired.revision} ${desired.appliedAt}`;

/** A change is followed by an observation; more than these in a row mean that two writers disagree. */
const mostInRow = 3;

export function startReconciler({ controllers, records, log, intervalMs }: Options): Reconciler {
  const keepers = controllers.map((controller) => createSectionKeeper(controller, { records, log }));
  const bySection = new Map(keepers.map((keeper) => [keeper.controller.section, keeper]));
  const ended = new AbortController();
  const listeners = new Set<() => void>();
  let desired: DesiredState | undefined;
  let convergedAt: { readonly ms: number; readonly date: string } | undefined;
  let wakers = new Set<() => void>();
  const wakeAll = (): void => {
    const all = wakers;
    wakers = new Set();
    for (const wake of all) wake();
  };
  const pause = (ms: number, due?: Promise<void>): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        wakers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      wakers.add(done);
      void due?.then(done);
    });

  const isConverged = (): boolean =>
    desired !== undefined &&
    keepers.every((keeper) => keeper.passed() === requestOf(desired) && keeper.status().state === 'in sync');
  const note = (): void => {
    if (!isConverged()) convergedAt = undefined;
    else convergedAt ??= { ms: performance.now(), date: new Date().toISOString() };
    for (const listener of listeners) listener();
  };

  const mayRun = ({ controller: { after } }: SectionKeeper, request: string | undefined): boolean =>
    after.every((section) => {
      const before = bySection.get(section);
      return before === undefined || before.passed() === request;
    });

  const keep = async (keeper: SectionKeeper): Promise<void> => {
    for (let inRow = 0; !ended.signal.aborted;) {
      const now = desired;
      const request = requestOf(now);
      if (now === undefined || request === undefined || !mayRun(keeper, request)) {
        await pause(intervalMs);
        continue;
      }
      const first = keeper.passed() !== request;
      let again = false;
      try {
        again = await keeper.pass(request, now.state, ended.signal, () => requestOf(desired) === request);
      } catch (thrown) {
        // Only writing our own records failed: the next pass tries again.
        log.error({ section: keeper.controller.section, why: reasonOf(thrown) }, 'the pass failed');
      }
      note();
      // Sections that wait for this one.
      if (first) wakeAll();
      inRow = again ? inRow + 1 : 0;
      if (!again || inRow >= mostInRow) {
        if (desired === now) await pause(intervalMs, keeper.due());
        inRow = 0;
      }
    }
    await keeper.ended();
  };
  const loops = keepers.map((keeper) => keep(keeper));

  return {
    use(next) {
      if (requestOf(desired) !== requestOf(next)) convergedAt = undefined;
      desired = next;
      wakeAll();
    },
    desired: () => desired,
    status: () => ({
      pid: process.pid,
      at: new Date().toISOString(),
      ...(desired !== undefined && {
        revision: desired.revision,
        source: desired.source,
        appliedAt: desired.appliedAt,
      }),
      converged: convergedAt !== undefined,
      ...(convergedAt !== undefined && { since: convergedAt.date }),
      sections: keepers.map((keeper) => keeper.status()),
    }),
    convergedSince: () => convergedAt?.ms,
    onPass(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async close() {
      ended.abort(new Error('the reconciler is closed'));
      wakeAll();
      await Promise.all(loops);
    },
  };
}
