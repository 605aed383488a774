import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import { releasePath, stageName, updateReleases } from '../../trust/index.ts';
import type { KnownReleases, PolicyRelease, StagedNode, TrustPolicy } from '../../trust/index.ts';
import { loadPolicySet } from '../policy/policy-set.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import { activate, haltedBy, sourceOf } from './activation.ts';
import type { ActivationParts } from './activation.ts';
import { isListed, planFor } from './plan.ts';
import { storedFiles } from './release-folder.ts';
import { firstPause, pauseBefore } from './schedule.ts';
import { stalenessAt } from './staleness.ts';
import type { OnStale } from './staleness.ts';
import { isSame, withHalted } from './state.ts';
import type { DeliveryState, LostAdmission } from './state.ts';
import { statusOf } from './status.ts';
import type { DeliveryProblem, DeliveryStatus } from './status.ts';
import type { ReleaseSource } from '../../trust/index.ts';

/** A refusal that the policy in force has given. */
export interface Refusal extends LostAdmission {
  /** Id of its verdict. */
  readonly verdict: string;
  /** Whether a policy, asked about the same image with the same evidence, would admit it. */
  readonly admittedBy: (policy: TrustPolicy) => Promise<boolean>;
}

export interface SubscriberDeps extends ActivationParts {
  readonly holder: Pick<PolicyHolder, 'current' | 'limit' | 'problem' | 'use'>;
  readonly source: ReleaseSource;
  readonly service: string;
  readonly channel: string;
  readonly node: StagedNode;
  readonly stale: OnStale;
  readonly intervalMs: number;
  readonly random: () => number;
}

/** Follows the releases of a policy. */
export interface Subscriber {
  /** Begins to ask the source. */
  start(): void;
  /** Asks the source now, and resolves when its answer has taken effect. Never throws. */
  poll(): Promise<void>;
  /** Reports a refusal by the policy in force: when those that a new release causes rise, the node returns. */
  refused(refusal: Refusal): void;
  status(): DeliveryStatus;
  /** Nothing is asked any more; resolves when what is in progress has ended. */
  close(): Promise<void>;
}

const longestTimer = 0x7fff_ffff;
/** Refusals that are compared at one time, because each costs a decision; more at that time do not count. */
const mostCompared = 32;

/** @param initial what the node remembers; its active release is in force already */
export function createSubscriber(deps: SubscriberDeps, initial: DeliveryState): Subscriber {
  const { folder, holder, log, now, node, channel, stale } = deps;
  const inTurn = createSerialQueue();
  let state = initial;
  let problem: DeliveryProblem | undefined;
  let attempt: Date | undefined;
  let failures = 0;
  let askedMs: number | undefined;
  let next: Date | undefined;
  let timer: NodeJS.Timeout | undefined;
  let staleTimer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;
  let closed = false;
  /** The policy before the release in force, and the refusals that it would not have given. */
  let before: Promise<TrustPolicy | undefined> | undefined;
  let lost = new Map<string, LostAdmission>();
  let comparing = 0;
  let mustLeave = false;

  const save = async (changed: DeliveryState): Promise<void> => {
    if (JSON.stringify(changed) !== JSON.stringify(state)) await folder.save(changed);
    state = changed;
  };

  function limitNow(): void {
    clearTimeout(staleTimer);
    if (closed) return;
    const found = stalenessAt(stale, state.expires, now());
    const withdrawn = {
      refuses: 'everything',
      why: `the policy release ${state.active?.number ?? ''} was withdrawn, and no other one is for this node`,
    } as const;
    holder.limit(mustLeave ? withdrawn : found.limit);
    if (found.changesAt === undefined) return;
    const wait = Math.min(Math.max(found.changesAt - now().getTime(), 50), longestTimer);
    staleTimer = setTimeout(limitNow, wait).unref();
  }

  function watchedUntil(): number {
    const { active, previous } = state;
    if (active === undefined || previous === undefined || active.halt.denials === 0) return 0;
    return Date.parse(active.since) + active.halt.watch * 1000;
  }

  /** Lets the holder read the files of the release before again. */
  const reuse = async ({ active }: DeliveryState): Promise<void> => {
    const files = active === undefined ? undefined : await storedFiles(folder, active);
    if (active === undefined || files === undefined) return;
    await holder.use(sourceOf(folder, active, await folder.unpack(active, files), files));
  };

  const take = async (
    release: PolicyRelease,
    options: { must: boolean; mayReturn: boolean },
  ): Promise<void> => {
    const policyBefore = holder.current();
    const was = state;
    const changed = await activate(deps, release, state, options);
    state = changed;
    if (changed.active === undefined || !isSame(changed.active, release)) return folder.save(changed);
    const failed = holder.problem();
    if (failed !== undefined && holder.current()?.revision !== changed.active.policyRevision) {
      // The files were valid a moment ago: the disk fails. The release before stays in force.
      await save(was);
      await reuse(was);
      throw new Error(failed);
    }
    mustLeave = false;
    lost = new Map();
    before = Promise.resolve(changed.previous === undefined ? undefined : policyBefore);
    log.info(
      { release: releasePath(release), sha256: release.sha256, before: was.active?.number ?? null },
      'a policy release is in force',
    );
    const { active, previous } = state;
    await folder.forget([active, previous].filter((one) => one !== undefined));
  };

  async function ask(): Promise<void> {
    attempt = now();
    try {
      const known = await updateReleases({
        ...{ source: deps.source.metadata, store: folder.metadata, channel, now: now() },
      });
      await save(noted(state, known, now()));
      limitNow();
      if (closed) return;
      await settle(known);
      [problem, failures, askedMs] = [undefined, 0, undefined];
    } catch (thrown) {
      failures += 1;
      problem = problemOf(thrown, now());
      const asked = isPortcullisError(thrown) ? thrown.failure.details?.['retryAfterMs'] : undefined;
      askedMs = typeof asked === 'number' ? asked : undefined;
      log.error(
        { ...problem, service: deps.service, release: state.active?.number ?? null },
        'the policy release was not taken: the release before stays in force',
      );
    }
    limitNow();
  }

  async function settle({ releases }: KnownReleases): Promise<void> {
    const plan = planFor(releases, state, node);
    mustLeave = plan.do === 'leave';
    if (plan.do !== 'take') return;
    const mayReturn = !plan.must && plan.release.halt.denials > 0;
    await take(plan.release, { must: plan.must, mayReturn });
  }

  /** Returns to the release before, unless it may not be in force any more. */
  async function returnToPrevious(release: PolicyRelease): Promise<void> {
    const { active, previous } = state;
    if (active === undefined || previous === undefined || !isSame(active, release)) return;
    const halted = haltedBy(active, 'after', [...lost.values()], now());
    try {
      await save(withHalted(state, halted));
      await take(previous, { must: true, mayReturn: false });
      log.warn(
        { release: releasePath(active), back: previous.number, denials: halted.count },
        'a policy release is halted: refusals rose, and the release before is in force again',
      );
    } catch (thrown) {
      problem = problemOf(thrown, now());
      log.error(
        { ...problem, release: releasePath(active) },
        'the node could not return to the release before',
      );
    }
  }

  async function policyBefore(): Promise<TrustPolicy | undefined> {
    const { previous } = state;
    const files = previous === undefined ? undefined : await storedFiles(folder, previous);
    if (previous === undefined || files === undefined) return undefined;
    return (await loadPolicySet({ paths: [await folder.unpack(previous, files)] })).policy;
  }

  async function compare(refusal: Refusal, release: PolicyRelease): Promise<void> {
    before ??= policyBefore();
    const policy = await before.catch(() => undefined);
    if (policy === undefined || !(await refusal.admittedBy(policy))) return;
    if (state.active === undefined || !isSame(state.active, release)) return;
    const { namespace, reference, outcome, rule } = refusal;
    // A kubelet repeats a request that was refused: it counts once.
    lost.set(`${namespace}\n${reference}`, { namespace, reference, outcome, rule });
    if (lost.size >= release.halt.denials) await inTurn(() => returnToPrevious(release));
  }

  function plan(pauseMs: number): void {
    clearTimeout(timer);
    if (closed) return;
    next = new Date(now().getTime() + pauseMs);
    timer = setTimeout(() => void poll(), Math.min(pauseMs, longestTimer)).unref();
  }
  async function askInTurn(): Promise<void> {
    clearTimeout(timer);
    await inTurn(async () => {
      if (!closed) await ask();
    });
    const random = deps.random();
    plan(pauseBefore({ intervalMs: deps.intervalMs, failures, askedMs, random }));
  }

  const poll = (): Promise<void> =>
    (polling ??= askInTurn().finally(() => {
      polling = undefined;
    }));

  limitNow();
  return {
    start() {
      const isUrgent = state.active === undefined || stalenessAt(stale, state.expires, now()).isStale;
      plan(firstPause(deps.intervalMs, isUrgent, deps.random()));
    },
    poll,
    refused(refusal) {
      const { active } = state;
      if (closed || active === undefined || now().getTime() >= watchedUntil() || comparing >= mostCompared)
        return;
      comparing += 1;
      compare(refusal, active)
        .catch((thrown: unknown) =>
          log.error(
            { verdict: refusal.verdict, cause: reasonOf(thrown) },
            'a refusal was not compared with the release before',
          ),
        )
        .finally(() => (comparing -= 1));
    },
    status: () =>
      statusOf({
        ...{ service: deps.service, channel, node, state, problem, attempt, next },
        isStale: stalenessAt(stale, state.expires, now()).isStale,
        isWatched: now().getTime() < watchedUntil(),
        isWithdrawn: mustLeave,
      }),
    async close() {
      closed = true;
      clearTimeout(timer);
      clearTimeout(staleTimer);
      await inTurn(() => Promise.resolve());
    },
  };
}

/** Returns the state with what the metadata say, without halted releases that are no longer listed. */
function noted(state: DeliveryState, { releases, expires }: KnownReleases, at: Date): DeliveryState {
  const newest = releases.find(({ withdrawn }) => !withdrawn);
  const { newest: _, previous, ...rest } = state;
  return {
    ...rest,
    // The node may not return to a withdrawn release.
    ...(previous === undefined || !isListed(releases, previous) ? {} : { previous }),
    ...(newest === undefined ? {} : { newest: { number: newest.number, stage: stageName(newest) } }),
    halted: state.halted.filter((one) => isListed(releases, one)),
    expires,
    contact: at.toISOString(),
  };
}

function problemOf(thrown: unknown, at: Date): DeliveryProblem {
  if (!isPortcullisError(thrown))
    return {
      ...{ code: 'POLICY_DELIVERY_FAILED', why: reasonOf(thrown), isUnavailable: false },
      fix: 'see the log of portcullisd',
      at: at.toISOString(),
    };
  const { why, fix, on } = thrown.failure;
  return {
    ...{ code: thrown.code, why: `${on}: ${why}`, fix, isUnavailable: thrown.kind === 'unavailable' },
    at: at.toISOString(),
  };
}
