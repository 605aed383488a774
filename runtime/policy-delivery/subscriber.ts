import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import { createCourse } from './course.ts';
import type { CourseDeps } from './course.ts';
import { createPreview } from './preview.ts';
import type { ReleasePreview } from './preview.ts';
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
  /** Resolves when the node has decided by the release that is not for it yet. Never throws. */
  previewed(): Promise<void>;
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
  const upcoming = followUpcoming({
    ...{ course, preview, inTurn, log },
    isClosed: () => closed,
    hasProblem: () => problem !== undefined,
  });

  const staleness = (): ReturnType<typeof stalenessAt> => stalenessAt(stale, course.state().expires, now());

  function limitNow(): void {
    clearTimeout(staleTimer);
    if (closed) return;
    const { limit, changesAt } = staleness();
    const { active } = course.state();
    const why = `the policy release ${active?.number ?? ''} was withdrawn, and no other release is in force yet`;
    holder.limit(course.isLeft() ? { refuses: 'everything', why } : limit);
    if (course.state().expires === undefined) return;
    const wait = Math.min(Math.max((changesAt ?? Infinity) - now().getTime(), 50), longestStaleness);
    staleTimer = setTimeout(limitNow, wait).unref();
  }

  const failed = (thrown: unknown, message: string): void => {
    problem = problemOf(thrown, now());
    log.error({ ...problem, service, release: course.state().active?.number ?? null }, message);
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
      failed(thrown, 'the policy release was not accepted: the previous release stays in force');
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
    plan(pauseBefore({ intervalMs, failures, askedMs, random: random() }));
    // A preview may take long: neither the next question nor a return to the release before waits for it.
    upcoming.look();
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
        .catch((thrown: unknown) => failed(thrown, 'the node could not return to the previous release'));
    }),
  );

  limitNow();
  return {
    start() {
      const isUrgent = course.state().active === undefined || course.isLeft() || staleness().isStale;
      plan(firstPause(intervalMs, isUrgent, random()));
    },
    poll,
    previewed: upcoming.looked,
    refused,
    status: () =>
      statusOf({
        ...{ service, channel, node, state: course.state(), problem, attempt, next },
        preview: upcoming.preview(),
        isStale: staleness().isStale,
        isWatched: now().getTime() < course.watchedUntil(),
        isWithdrawn: course.isLeft(),
      }),
    async close() {
      closed = true;
      clearTimeout(timer);
      clearTimeout(staleTimer);
      await polling;
      await upcoming.looked();
      await inTurn(() => Promise.resolve());
    },
  };
}

interface UpcomingDeps {
  readonly course: ReturnType<typeof createCourse>;
  readonly preview: ReturnType<typeof createPreview>;
  readonly inTurn: ReturnType<typeof createSerialQueue>;
  readonly log: SubscriberDeps['log'];
  isClosed(): boolean;
  /** Whether the source could not be reached, or its release was not taken. */
  hasProblem(): boolean;
}

/** Decides by the release that is not for the node yet, beside everything else. */
function followUpcoming({ course, preview, inTurn, log, isClosed, hasProblem }: UpcomingDeps) {
  let looking: Promise<void> | undefined;
  /** The source was asked while the node looked ahead. */
  let mustLookAgain = false;
  const looksAgain = (): boolean => mustLookAgain;
  /** Whether what an earlier daemon kept of releases has been compared with the list. */
  let isTidy = false;

  async function lookAhead(): Promise<void> {
    do {
      mustLookAgain = false;
      if (isClosed()) return;
      const before = preview.current()?.release;
      const release = course.pending();
      await preview.look(release);
      const mayTidy = !isTidy && !hasProblem() && !isClosed();
      if (preview.current()?.release !== before || course.pending()?.number !== release?.number || mayTidy) {
        if (mayTidy) isTidy = true;
        await inTurn(() => course.tidy()).catch((thrown: unknown) =>
          log.warn({ cause: reasonOf(thrown) }, 'old policy releases could not be removed'),
        );
      }
    } while (looksAgain());
  }
  return {
    /** Begins to look, or looks once more after the look in progress. */
    look(): void {
      if (looking !== undefined) mustLookAgain = true;
      else
        looking = lookAhead().finally(() => {
          looking = undefined;
        });
    },
    /** Resolves when no look is in progress. */
    looked: async (): Promise<void> => looking,
    /** The preview of the release that is not for the node yet: not one that was, a moment ago. */
    preview(): ReleasePreview | undefined {
      const [found, pending] = [preview.current(), course.pending()];
      return pending !== undefined && found?.release === `${pending.channel}/${pending.number}`
        ? found
        : undefined;
    },
  };
}

function problemOf(thrown: unknown, at: Date): DeliveryProblem {
  if (!isPortcullisError(thrown))
    return {
      ...{ code: 'POLICY_DELIVERY_FAILED', why: reasonOf(thrown), isUnavailable: false },
      fix: 'check the log of portcullisd',
      at: at.toISOString(),
    };
  const { why, fix, on } = thrown.failure;
  return {
    ...{ code: thrown.code, why: `${on}: ${why}`, fix, isUnavailable: thrown.kind === 'unavailable' },
    at: at.toISOString(),
  };
}
