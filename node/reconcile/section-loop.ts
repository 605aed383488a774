import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { planChanges } from '../model/plan.ts';
import type { Change, Controller, Item, NodeState, Observed, Owned } from '../model/types.ts';
import type { SectionCounts, SectionStatus } from '../store/node-files.ts';
import { createChangesUnderWay } from './changes-under-way.ts';
import type { ChangesUnderWay } from './changes-under-way.ts';
import { createFailureNotes } from './failure-notes.ts';
import type { Records } from './records.ts';

/** The longest that one observation may take, in ms. */
const observeMs = 60_000;
/** The longest that one change may take, in ms: a pull of a large image. */
const changeMs = 1_200_000;
const mostRecent = 20;

/** Keeps one section. */
export interface SectionKeeper {
  readonly controller: Controller;
  /**
   * Observes and changes the section once. Returns whether another pass should follow at once. Changes that
   * take long may still run afterwards, if the section may change several items at once.
   * @param request the request for the state: a failure of an earlier request is tried again at once
   * @param isWanted whether the state is still desired; the remaining changes of another one are not made
   */
  pass(request: string, state: NodeState, signal: AbortSignal, isWanted?: () => boolean): Promise<boolean>;
  /**
   * Resolves when another pass is worth it although nothing else happened: an item that had no turn may have
   * it, or a change that lasted longer than its pass ended. Pending otherwise.
   */
  due(): Promise<void>;
  status(): SectionStatus;
  /** The request of the last complete pass, whatever its result. */
  passed(): string | undefined;
  /** Resolves when no change runs any more. */
  ended(): Promise<void>;
}

interface Deps {
  readonly records: Records;
  readonly log: Logger;
  /** A clock that only rises, in ms. */
  readonly now?: () => number;
}

/** Returns the text of a change for people. */
export function describeChange({ action, name, from, to }: Change): string {
  const values = from === undefined ? (to ?? '') : to === undefined ? from : `${from} -> ${to}`;
  return `${action} ${name}: ${values}`;
}

/**
 * Returns the records of items that are about to be created. Where items wait for their turn, something else
 * that the state wants may create one in the meantime, such as a pod that needs an image.
 */
const intentsOf = (
  changes: readonly Change[],
  desired: ReadonlyMap<string, Item>,
  owned: ReadonlyMap<string, Owned>,
): readonly (readonly [string, Owned])[] =>
  changes.flatMap(({ name, action }) => {
    const item = desired.get(name);
    if (item === undefined || action !== 'create' || owned.has(name)) return [];
    return [[name, { made: false, fingerprint: item.fingerprint, visible: item.visible }]];
  });

/**
 * Observes the section, and records what the plan says before anything changes. Items that change now are not
 * planned (`busy`).
 */
async function observeAndPlan(
  controller: Controller,
  records: Records,
  underWay: Pick<ChangesUnderWay, 'names' | 'stopOthers'>,
  context: PassContext,
) {
  const { section } = controller;
  const desired = controller.items(context.state);
  const busy = underWay.names();
  underWay.stopOthers(desired);
  const owned = records.of(section);
  const limits = { signal: AbortSignal.any([context.signal, AbortSignal.timeout(observeMs)]) };
  const names = new Set([...desired.keys(), ...owned.keys()]);
  // Observing an empty section would change nothing, and its daemon may not even run.
  const observed = names.size === 0 ? new Map<string, Observed>() : await controller.observe(names, limits);
  const without = <Value>(items: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> =>
    busy.size === 0 ? items : new Map([...items].filter(([name]) => !busy.has(name)));
  const plan = planChanges(controller, {
    desired: without(desired),
    observed: without(observed),
    owned: without(owned),
  });
  await records.set(
    section,
    new Map<string, Owned | undefined>([
      ...plan.forget.map((name) => [name, undefined] as const),
      ...plan.records,
      ...(controller.atOnce === undefined ? [] : intentsOf(plan.changes, desired, owned)),
    ]),
  );
  const problems =
    plan.changes.length + plan.conflicts.length + busy.size === 0 && desired.size > 0
      ? ((await controller.health?.(limits)) ?? [])
      : [];
  return { desired, busy, plan, problems };
}

export function createSectionKeeper(
  controller: Controller,
  { records, log, now = () => performance.now() }: Deps,
): SectionKeeper {
  const { section } = controller;
  const notes = createFailureNotes(section, log, now);
  const underWay = createChangesUnderWay(controller.atOnce);
  const counts = { created: 0, updated: 0, deleted: 0, healed: 0, failed: 0 };
  let recent: SectionStatus['recent'] = [];
  let state: SectionStatus['state'] = 'waiting';
  let itemCount = 0;
  let passedRequest: string | undefined;
  let current: string | undefined;
  let hasWaiting = false;

  const make = async (change: Change, item: Item | undefined, context: PassContext): Promise<void> => {
    const { name, action, drift } = change;
    const before = records.of(section).get(name);
    if (item !== undefined) {
      const { fingerprint, visible } = item;
      const intent: Owned = { ...before, made: before?.made ?? false, fingerprint, visible };
      // A change of an existing item is recorded after it took effect. Until then, it is planned again.
      if (before?.made !== true) await records.set(section, new Map([[name, intent]]));
    }
    const limits = { signal: AbortSignal.any([context.signal, AbortSignal.timeout(changeMs)]) };
    await controller.apply(change, context.state, limits);
    const after: Owned | undefined =
      item === undefined
        ? undefined
        : {
            made: true,
            fingerprint: item.fingerprint,
            visible: item.visible,
            ...(before?.before !== undefined && { before: before.before }),
          };
    await records.set(section, new Map([[name, after]]));
    notes.succeeded(name, controller.backsOff);
    counts[action === 'create' ? 'created' : action === 'update' ? 'updated' : 'deleted'] += 1;
    if (drift) counts.healed += 1;
    recent = [...recent, { at: new Date().toISOString(), change: describeChange(change), drift }].slice(
      -mostRecent,
    );
    log.info(
      { section, item: name, action, from: change.from, to: change.to, drift },
      drift ? 'drift healed' : 'changed',
    );
  };

  const pass = async (context: PassContext): Promise<boolean> => {
    hasWaiting = false;
    const isAborted = (): boolean => context.signal.aborted;
    let found: Awaited<ReturnType<typeof observeAndPlan>>;
    try {
      found = await observeAndPlan(controller, records, underWay, context);
      itemCount = found.desired.size;
    } catch (thrown) {
      if (isAborted()) return false;
      counts.failed += 1;
      notes.note(undefined, textOf(thrown));
      state = 'failed';
      return false;
    }
    const { desired, busy, plan, problems } = found;
    if (problems.length === 0) notes.clearSection();
    const touched = new Set([...[...plan.changes, ...plan.conflicts].map(({ name }) => name), ...busy]);
    const isChanging = plan.changes.length + busy.size > 0;
    notes.keepOnly(touched);
    for (const { name, why } of plan.conflicts) notes.note(name, why);
    if (problems.length > 0) notes.note(undefined, problems.join('; '));
    if (isChanging && state === 'in sync') state = 'changing';
    let changed = false;
    const makeOne = async (change: Change, item: Item | undefined, stopped: AbortSignal): Promise<void> => {
      const signal = AbortSignal.any([context.signal, stopped]);
      try {
        await make(change, item, { ...context, signal });
        changed = true;
      } catch (thrown) {
        if (signal.aborted) return;
        counts.failed += 1;
        // The cause of a failure for an earlier request may be gone.
        if (current === context.request) notes.failed(change.name, textOf(thrown));
      }
    };
    const mayGoOn = (): boolean => !isAborted() && context.isWanted();
    const due = plan.changes.filter(({ name }) => notes.mayTry(name));
    hasWaiting = await underWay.make(due, desired, makeOne, mayGoOn);
    if (!mayGoOn()) return false;
    state = notes.list().length > 0 ? 'failed' : isChanging ? 'changing' : 'in sync';
    return changed;
  };

  return {
    controller,
    async pass(request, wanted, signal, isWanted = () => true) {
      if (current !== request) {
        // The cause of the failure may be gone.
        current = request;
        notes.clear();
        state = 'changing';
      }
      const changed = await pass({ request, state: wanted, signal, isWanted });
      if (!signal.aborted && isWanted()) passedRequest = request;
      return changed;
    },
    due: async () => (hasWaiting && underWay.hasPlace() ? undefined : underWay.oneEnded()),
    status: (): SectionStatus => ({
      section,
      state,
      items: itemCount,
      failures: notes.list(),
      counts: { ...counts } satisfies SectionCounts,
      recent,
    }),
    passed: () => passedRequest,
    ended: underWay.ended,
  };
}

const textOf = (thrown: unknown): string => (isPortcullisError(thrown) ? thrown.message : reasonOf(thrown));

interface PassContext {
  readonly request: string;
  readonly state: NodeState;
  readonly signal: AbortSignal;
  readonly isWanted: () => boolean;
}
