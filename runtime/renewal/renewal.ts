import { AsyncLocalStorage } from 'node:async_hooks';
import { reasonOf } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { evidenceStanding, keepAnswers, renewEvidence } from '../../trust/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import type { EvidenceInUse, ImageStore } from '../images/types.ts';
import { firstTry, nextTry } from './schedule.ts';

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

/** What is known about one image's evidence under one policy. */
interface Plan {
  readonly revision: string;
  readonly names: readonly string[];
  /** Milliseconds since 1970; undefined: nothing in it expires. */
  due: number | undefined;
  ends: number | undefined;
  failures: number;
  triedNow: number;
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
export function createRenewal(parts: Deps): Renewal {
  const {
    policy,
    images,
    log,
    now = () => new Date(),
    random = Math.random,
    roundMs = roundMilliseconds,
  } = parts;
  const plans = new Map<string, Plan>();
  const answers = keepAnswers();
  const stop = new AbortController();
  const count = { renewed: 0, failed: 0 };
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
    const at = now().getTime();
    const waits = [...plans.values()].flatMap(({ due }) => (due === undefined ? [] : [due - at]));
    return Math.min(roundMs, Math.max(leastPause, waits.length === 0 ? roundMs : smallest(waits)));
  }

  async function round(): Promise<void> {
    const inForce = policy.current();
    if (inForce === undefined) return;
    const inUse = images.evidence();
    const known = new Set(inUse.map(keyOf));
    for (const key of plans.keys()) if (!known.has(key)) plans.delete(key);
    let renewals = 0;
    for (const one of inUse) {
      const plan = await planOf(one, inForce);
      if (stop.signal.aborted || renewals >= renewalsARound) return;
      if (plan.due === undefined || plan.due > now().getTime()) continue;
      renewals += 1;
      await renew(one, inForce, plan, renewalMilliseconds);
    }
  }

  async function planOf(one: EvidenceInUse, inForce: TrustPolicy): Promise<Plan> {
    const key = keyOf(one);
    const before = plans.get(key);
    if (before?.revision === inForce.revision) return before;
    const at = now();
    const existing = await evidenceStanding({
      dossier: one.dossier,
      references: one.names,
      policy: inForce,
      now: at,
    });
    const ends = existing?.missing === true ? at.getTime() : existing?.until?.getTime();
    const due =
      ends === undefined
        ? undefined
        : firstTry(at.getTime(), ends, Date.parse(one.dossier.gatheredAt), random());
    const plan = { revision: inForce.revision, names: one.names, due, ends, failures: 0, triedNow: 0 };
    plans.set(key, plan);
    // Yields to other work, because opening the envelopes here takes time.
    await new Promise((resolve) => setImmediate(resolve));
    return plan;
  }

  /** Renewals in progress, by evidence: a container that waits for one does not start another. */
  const underWay = new Map<string, Promise<boolean>>();

  function renew(
    one: EvidenceInUse,
    inForce: TrustPolicy,
    plan: Plan,
    milliseconds: number,
  ): Promise<boolean> {
    const key = keyOf(one);
    const begun =
      underWay.get(key) ??
      renewOnce(one, inForce, plan, milliseconds).finally(() => {
        underWay.delete(key);
      });
    underWay.set(key, begun);
    return begun;
  }

  async function renewOnce(
    one: EvidenceInUse,
    inForce: TrustPolicy,
    plan: Plan,
    milliseconds: number,
  ): Promise<boolean> {
    const facts = { image: one.imageId, names: one.names };
    try {
      const { dossier, names: references } = one;
      const services = images.services === undefined ? {} : { services: images.services };
      const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(milliseconds)]);
      const fresh = await renewEvidence({
        dossier,
        references,
        policy: inForce,
        now: now(),
        answers,
        milliseconds,
        signal,
        ...services,
      });
      if (fresh === undefined) throw new Error('no newer evidence is available');
      const verdicts = await images.renew(one, fresh);
      plans.delete(keyOf(one));
      count.renewed += 1;
      log.info(
        { ...facts, verdicts: verdicts.map(({ id, outcome }) => `${outcome} ${id}`) },
        'evidence was renewed',
      );
      parts.onRenewed(verdicts);
      return true;
    } catch (error) {
      if (stop.signal.aborted) return false;
      answers.forget();
      plan.failures += 1;
      plan.due = nextTry(now().getTime(), plan.failures, random());
      count.failed += 1;
      const ended = plan.ends !== undefined && plan.ends <= now().getTime();
      const reported = { ...facts, cause: reasonOf(error), until: textOf(plan.ends), next: textOf(plan.due) };
      if (ended)
        log.error(
          reported,
          'evidence has expired and cannot be renewed: the image is not admitted until it is',
        );
      else
        log.warn(reported, 'evidence could not be renewed; the present evidence is valid until it expires');
      return false;
    }
  }

  const unsubscribe = policy.onChange(request);
  return {
    request,
    async tryNow(imageId, milliseconds) {
      const inForce = policy.current();
      if (inForce === undefined) return false;
      const tries = images.evidence(imageId).map(async (one): Promise<boolean> => {
        const { dossier, names: references } = one;
        const at = now();
        const existing = await evidenceStanding({ dossier, references, policy: inForce, now: at });
        if (existing?.missing !== true) return false;
        const plan = await planOf(one, inForce);
        if (!underWay.has(keyOf(one)) && at.getTime() - plan.triedNow < betweenTriesNow) return false;
        plan.triedNow = at.getTime();
        return renew(one, inForce, plan, milliseconds);
      });
      const waited = new Promise<readonly boolean[]>((resolve) =>
        setTimeout(resolve, milliseconds, []).unref(),
      );
      return (await Promise.race([Promise.all(tries), waited])).includes(true);
    },
    counts() {
      const at = now().getTime();
      return {
        ...count,
        ended: [...plans.values()].filter(({ ends }) => ends !== undefined && ends <= at).length,
      };
    },
    ended() {
      const at = now().getTime();
      return [...plans.values()].flatMap(({ names, ends }) =>
        ends !== undefined && ends <= at ? [{ names, since: new Date(ends).toISOString() }] : [],
      );
    },
    async close() {
      stop.abort(new Error('the daemon stops'));
      clearTimeout(timer);
      unsubscribe();
      await Promise.allSettled([running, ...underWay.values()]);
    },
  };
}

function keyOf({ imageId, dossier }: EvidenceInUse): string {
  return `${imageId} ${dossier.id}`;
}

function textOf(time: number | undefined): string | undefined {
  return time === undefined ? undefined : new Date(time).toISOString();
}
