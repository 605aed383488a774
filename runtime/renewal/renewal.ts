import { AsyncLocalStorage } from 'node:async_hooks';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { evidenceStanding } from '../../trust/evidence/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import type { EvidenceInUse, ImageStore } from '../images/types.ts';
import { createPlans } from './plans.ts';
import { createRequests } from './requests.ts';

export interface Renewal {
  /** Checks at once instead of at the next round. */
  request(): void;
  /**
   * Tries at once to renew the expired evidence of an image, within the given time; true when it got newer
   * evidence.
   */
  tryNow(imageId: string, milliseconds: number): Promise<boolean>;
  /**
   * Counts since the start; `ended` is the number of images that cannot be decided now because an answer has
   * expired.
   */
  counts(): { readonly renewed: number; readonly failed: number; readonly ended: number };
  /**
   * Returns the names of the images that cannot be decided because an answer has expired, and since when (ISO
   * 8601).
   */
  ended(): readonly { readonly names: readonly string[]; readonly since: string }[];
  /** Waits for the current renewals; no requests follow. */
  close(): Promise<void>;
}

interface Deps {
  readonly policy: { current(): TrustPolicy | undefined; onChange(listener: () => void): () => void };
  readonly images: Pick<ImageStore, 'evidence' | 'renew'> & Partial<Pick<ImageStore, 'services'>>;
  /** Receives verdicts on newer evidence: running containers may have to be decided again. */
  readonly onRenewed: (verdicts: readonly Verdict[]) => void;
  readonly log: Logger;
  readonly now?: () => Date;
  readonly random?: () => number;
  /** The time between two checks of what is due. */
  readonly roundMs?: number;
}

const roundMilliseconds = 30_000;
const leastPause = 250;
const renewalMilliseconds = 10_000;
/** A container that is created again and again causes a request at most this often. */
const betweenTriesNow = 10_000;
/** Limit of renewals in one round, so that a responder that has come back is not overloaded. */
const renewalsARound = 30;

/**
 * Renews the parts of recorded evidence that expire (answers about revocation and of trust services): asks
 * again some time before they expire, without any registry, and has the images decided again. One request at
 * a time; a failed one is retried at growing intervals.
 */
export function createRenewal(deps: Deps): Renewal {
  const { policy, images, log, onRenewed } = deps;
  const { now = () => new Date(), random = Math.random, roundMs = roundMilliseconds } = deps;
  const stop = new AbortController();
  const plans = createPlans(now, random);
  const requests = createRequests({ images, log, onRenewed, plans, now, random, signal: stop.signal });
  let running: Promise<void> | undefined;
  let again = false;
  let timer: NodeJS.Timeout | undefined;

  // The work here belongs to no request, whichever request caused it.
  const outside = AsyncLocalStorage.snapshot();
  const request = (): void => outside(begin);

  function begin(): void {
    if (stop.signal.aborted) return;
    if (running !== undefined) {
      again = true;
      return;
    }
    clearTimeout(timer);
    running = round()
      .catch((error: unknown) =>
        log.error({ cause: reasonOf(error) }, 'evidence could not be renewed; the next round tries again'),
      )
      .finally(() => {
        running = undefined;
        if (stop.signal.aborted) return;
        timer = setTimeout(request, again ? 0 : untilNext()).unref();
        again = false;
      });
  }

  function untilNext(): number {
    return Math.min(roundMs, Math.max(leastPause, plans.untilNext() ?? roundMs));
  }

  async function round(): Promise<void> {
    const inForce = policy.current();
    if (inForce === undefined) return;
    const inUse = images.evidence();
    plans.keepOnly(inUse);
    let renewals = 0;
    for (const one of inUse) {
      const plan = await plans.of(one, inForce);
      if (stop.signal.aborted || renewals >= renewalsARound) return;
      if (plan.due === undefined || plan.due > now().getTime()) continue;
      renewals += 1;
      await requests.renew(one, inForce, plan, renewalMilliseconds);
    }
  }

  async function tryNow(one: EvidenceInUse, inForce: TrustPolicy, milliseconds: number): Promise<boolean> {
    const { dossier, names: references } = one;
    const at = now();
    const existing = await evidenceStanding({ dossier, references, policy: inForce, now: at });
    if (existing?.missing !== true) return false;
    const plan = await plans.of(one, inForce);
    if (!requests.isUnderWay(one) && at.getTime() - plan.triedNow < betweenTriesNow) return false;
    plan.triedNow = at.getTime();
    return requests.renew(one, inForce, plan, milliseconds);
  }

  const unsubscribe = policy.onChange(request);
  return {
    request,
    async tryNow(imageId, milliseconds) {
      const inForce = policy.current();
      if (inForce === undefined) return false;
      const tries = images.evidence(imageId).map((one) => tryNow(one, inForce, milliseconds));
      const waited = new Promise<readonly boolean[]>((resolve) =>
        setTimeout(resolve, milliseconds, []).unref(),
      );
      return (await Promise.race([Promise.all(tries), waited])).includes(true);
    },
    counts: () => ({ ...requests.count, ended: plans.ended().length }),
    ended: () => plans.ended().map(({ names, ends }) => ({ names, since: new Date(ends).toISOString() })),
    async close() {
      stop.abort(new Error('the daemon stops'));
      clearTimeout(timer);
      unsubscribe();
      await Promise.allSettled([running, requests.settled()]);
    },
  };
}
