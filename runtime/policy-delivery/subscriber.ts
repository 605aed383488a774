import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import { createCourse } from './course.ts';
import type { CourseDeps } from './course.ts';
import { createPreview } from './preview.ts';
import { firstPause, pauseBefore } from './schedule.ts';
import { stalenessAt } from './staleness.ts';
import type { OnStale } from './staleness.ts';
import type { DeliveryState } from './state.ts';
import { statusOf } from './status.ts';
import type { DeliveryProblem, DeliveryStatus } from './status.ts';
import { createRefusalWatch } from './watch-refusals.ts';
import type { Refusal } from './watch-refusals.ts';

export interface SubscriberDeps extends CourseDeps {
  readonly holder: Pick<PolicyHolder, 'current' | 'limit' | 'problem' | 'use'>;
  readonly service: string;
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
  /** Reports a refusal by the policy in force: when those that a release causes rise, the node returns. */
  refused(refusal: Refusal): void;
  status(): DeliveryStatus;
  /** Nothing is asked any more; resolves when what is in progress has ended. */
  close(): Promise<void>;
}

const longestTimer = 0x7fff_ffff;
/** In ms. The clock may be set, or go on while the machine sleeps; a timer follows neither. */
const longestStaleness = 60_000;

/** @param initial what the node remembers; its active release is in force already */
export function createSubscriber(deps: SubscriberDeps, initial: DeliveryState): Subscriber {
  const { holder, log, now, stale, service, channel, node, intervalMs, random } = deps;
  const course = createCourse(deps, initial);
  const preview = createPreview(deps);
  const inTurn = createSerialQueue();
  let problem: DeliveryProblem | undefined;
  let attempt: Date | undefined;
  let next: Date | undefined;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  let staleTimer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;
  let closed = false;
  /** Whether what an earlier daemon kept of releases has been compared with the list. */
  let isTidy = false;

  const staleness = (): ReturnType<typeof stalenessAt> => stalenessAt(stale, course.state().expires, now());

  function limitNow(): void {
    clearTimeout(staleTimer);
    if (closed) return;
    const { limit, changesAt } = staleness();
    const { active } = course.state();
    const why = `the policy release ${active?.number ?? ''} was withdrawn, and no other one is in force yet`;
    holder.limit(course.isLeft() ? { refuses: 'everything', why } : limit);
    if (course.state().expires === undefined) return;
    const wait = Math.min(Math.max((changesAt ?? Infinity) - now().getTime(), 50), longestStaleness);
    staleTimer = setTimeout(limitNow, wait).unref();
  }

  const failed = (thrown: unknown, told: string): void => {
    problem = problemOf(thrown, now());
    log.error({ ...problem, service, release: course.state().active?.number ?? null }, told);
  };

  /** @returns the time for which the server asks for patience, in ms */
  async function ask(): Promise<number | undefined> {
    attempt = now();
    try {
      await course.follow(() => {
        limitNow();
        return !closed;
      });
      [problem, failures] = [undefined, 0];
      return undefined;
    } catch (thrown) {
      failures += 1;
      failed(thrown, 'the policy release was not taken: the release before stays in force');
      const asked = isPortcullisError(thrown) ? thrown.failure.details?.['retryAfterMs'] : undefined;
      return typeof asked === 'number' ? asked : undefined;
    } finally {
      limitNow();
    }
  }

  function plan(pauseMs: number): void {
    clearTimeout(timer);
    if (closed) return;
    next = new Date(now().getTime() + pauseMs);
    timer = setTimeout(() => void poll(), Math.min(pauseMs, longestTimer)).unref();
  }
  async function askInTurn(): Promise<void> {
    clearTimeout(timer);
    const askedMs = await inTurn(async () => (closed ? undefined : ask()));
    // A return to the release before does not wait for it.
    const before = preview.current()?.release;
    if (!closed) await preview.look(course.pending());
    const mayTidy = !isTidy && problem === undefined && !closed;
    if (preview.current()?.release !== before || mayTidy) {
      if (mayTidy) isTidy = true;
      await inTurn(() => course.tidy()).catch((thrown: unknown) =>
        log.warn({ cause: reasonOf(thrown) }, 'old policy releases could not be removed'),
      );
    }
    plan(pauseBefore({ intervalMs, failures, askedMs, random: random() }));
  }
  const poll = (): Promise<void> =>
    (polling ??= askInTurn().finally(() => {
      polling = undefined;
    }));

  const refused = createRefusalWatch(course, deps, (release, lost) =>
    inTurn(async () => {
      if (closed) return;
      await course
        .goBack(release, lost)
        .catch((thrown: unknown) => failed(thrown, 'the node could not return to the release before'));
    }),
  );

  limitNow();
  return {
    start() {
      const isUrgent = course.state().active === undefined || course.isLeft() || staleness().isStale;
      plan(firstPause(intervalMs, isUrgent, random()));
    },
    poll,
    refused,
    status: () =>
      statusOf({
        ...{ service, channel, node, state: course.state(), problem, attempt, next },
        preview: preview.current(),
        isStale: staleness().isStale,
        isWatched: now().getTime() < course.watchedUntil(),
        isWithdrawn: course.isLeft(),
      }),
    async close() {
      closed = true;
      clearTimeout(timer);
      clearTimeout(staleTimer);
      await polling;
      await inTurn(() => Promise.resolve());
    },
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
