import { reasonOf } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { TufRoot } from '../../trust/index.ts';
import { updateTrustedRoot } from '../../trust/sigstore/index.ts';
import { nextRootUpdate, nextTry } from './schedule.ts';

export interface RootUpdates {
  /**
   * Counts since the start; `failing` is the number of repositories that could not be reached or verified the
   * last time.
   */
  counts(): {
    readonly updated: number;
    readonly unchanged: number;
    readonly failed: number;
    readonly failing: number;
  };
  /**
   * Returns those repositories, the reason, and how long their current metadata are valid (ISO 8601; absent:
   * they do not expire).
   */
  failing(): readonly FailingRoot[];
  /** Waits for the current update; none follows. */
  close(): Promise<void>;
}

interface Deps {
  readonly policy: { tufRoots(): readonly TufRoot[]; onChange(listener: () => void): () => void };
  readonly log: Logger;
  readonly now?: () => Date;
  readonly random?: () => number;
  readonly roundMs?: number;
}

export interface FailingRoot {
  readonly url: string;
  readonly why: string;
  readonly until?: string;
}

interface Plan {
  due: number;
  failures: number;
  /** The time of the last round. A clock that shows an earlier time was ahead, and so is `due`. */
  seen: number;
  failing?: FailingRoot | undefined;
}

const roundMilliseconds = 60_000;
const leastPause = 250;

/**
 * Updates the trusted roots that the policy reads from TUF repositories: once a day, and well before the
 * metadata of a repository expire. A newer root is a changed file, for which the policy is loaded again. A
 * root that cannot be updated stays in use until it expires.
 */
export function openRootUpdates(parts: Deps): RootUpdates {
  const { policy, log, now = () => new Date(), random = Math.random, roundMs = roundMilliseconds } = parts;
  const plans = new Map<string, Plan>();
  const count = { updated: 0, unchanged: 0, failed: 0 };
  let running: Promise<void> | undefined;
  let closed = false;

  async function round(): Promise<void> {
    const roots = policy.tufRoots();
    const known = new Set(roots.map(keyOf));
    for (const key of plans.keys()) if (!known.has(key)) plans.delete(key);
    for (const root of roots) {
      const at = now().getTime();
      const first = nextRootUpdate(at, root.expires, random());
      const plan = plans.get(keyOf(root)) ?? { due: first, failures: 0, seen: at };
      plans.set(keyOf(root), plan);
      if (at < plan.seen)
        plan.due = Math.min(plan.due, plan.failures > 0 ? nextTry(at, plan.failures, random()) : first);
      plan.seen = at;
      if (!closed && plan.due <= at) await update(root, plan);
    }
  }

  async function update(root: TufRoot, plan: Plan): Promise<void> {
    const { url, cache } = root;
    try {
      const { digest, changed, expires } = await updateTrustedRoot({ url, cache });
      plan.failures = 0;
      plan.failing = undefined;
      plan.due = nextRootUpdate(now().getTime(), root.expires === undefined ? undefined : expires, random());
      count[changed ? 'updated' : 'unchanged'] += 1;
      log.info(
        { url, digest, changed },
        changed ? 'a sigstore root was updated' : 'a sigstore root is up to date',
      );
    } catch (error) {
      plan.failures += 1;
      plan.due = nextTry(now().getTime(), plan.failures, random());
      count.failed += 1;
      const until = root.expires === undefined ? undefined : new Date(root.expires).toISOString();
      const ended = root.expires !== undefined && root.expires <= now().getTime();
      plan.failing = { url, why: reasonOf(error), ...(until === undefined ? {} : { until }) };
      log.error(
        { url, cause: reasonOf(error), until, next: new Date(plan.due).toISOString() },
        ended
          ? 'a sigstore root could not be updated, and its metadata has expired: it proves no signature until it is updated'
          : 'a sigstore root could not be updated: the current root stays in use',
      );
    }
  }

  let timer: NodeJS.Timeout | undefined;
  const request = (): void => {
    if (closed || running !== undefined) return;
    clearTimeout(timer);
    running = round()
      .catch((error: unknown) =>
        log.error(
          { cause: reasonOf(error) },
          'sigstore roots could not be updated; the next round tries again',
        ),
      )
      .finally(() => {
        running = undefined;
        if (closed) return;
        const next = smallest([...plans.values()].map(({ due }) => due - now().getTime()));
        timer = setTimeout(request, Math.min(roundMs, Math.max(leastPause, next))).unref();
      });
  };
  const unsubscribe = policy.onChange(request);
  request();
  return {
    counts: () => ({ ...count, failing: [...plans.values()].filter(({ failures }) => failures > 0).length }),
    failing: () => [...plans.values()].flatMap(({ failing }) => (failing === undefined ? [] : [failing])),
    async close() {
      closed = true;
      clearTimeout(timer);
      unsubscribe();
      await running;
    },
  };
}

function keyOf({ url, cache }: TufRoot): string {
  return JSON.stringify([url, cache]);
}
