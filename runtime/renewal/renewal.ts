import { AsyncLocalStorage } from 'node:async_hooks';
import { reasonOf } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { evidenceStanding, keepAnswers, renewEvidence } from '../../trust/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import type { EvidenceInUse, ImageStore } from '../images/types.ts';
import { firstTry, nextTry } from './schedule.ts';

export interface Renewal {
  /** Looks at once instead of at the next round. */
  request(): void;
  /** Tries at once to renew what an image's evidence lacks, for as long as it may take; true when something newer came of it. */
  tryNow(imageId: string, milliseconds: number): Promise<boolean>;
  /** Since the start; `ended` is what can not be decided now because an answer has ended. */
  counts(): { readonly renewed: number; readonly failed: number; readonly ended: number };
  /** The images that can not be decided about because an answer has ended, by their names, and since when (ISO 8601). */
  ended(): readonly { readonly names: readonly string[]; readonly since: string }[];
  /** Waits for what is under way; nothing is asked afterwards. */
  close(): Promise<void>;
}

interface Parts {
  readonly policy: { current(): TrustPolicy | undefined; onChange(listener: () => void): () => void };
  readonly images: Pick<ImageStore, 'evidence' | 'renew'> & Partial<Pick<ImageStore, 'services'>>;
  /** Verdicts by newer evidence: what runs may have to be decided about. */
  readonly onRenewed: (verdicts: readonly Verdict[]) => void;
  readonly log: Logger;
  readonly now?: () => Date;
  readonly random?: () => number;
  /** Between two looks at what is due. */
  readonly roundMs?: number;
}

/** What is known of one image's evidence under one policy. */
interface Plan {
  readonly revision: string;
  readonly names: readonly string[];
  /** Milliseconds since 1970; undefined: nothing in it ends. */
  due: number | undefined;
  ends: number | undefined;
  failures: number;
  triedNow: number;
}

const roundMilliseconds = 30_000;
const leastPause = 250;
const renewalMilliseconds = 10_000;
/** A container that is created again and again asks at most so often. */
const betweenTriesNow = 10_000;
/** Renewals of one round: a responder that has come back is not run over. */
const renewalsARound = 30;

/**
 * Keeps what ends by itself in recorded evidence (answers about revocation and of trust services) from ending: asks anew some time before, without any
 * registry, and has it decided again. One question at a time; what fails is tried again, later and later.
 */
export function createRenewal(parts: Parts): Renewal {
  const { policy, images, log, now = () => new Date(), random = Math.random, roundMs = roundMilliseconds } = parts;
  const plans = new Map<string, Plan>();
  const answers = keepAnswers();
  const stop = new AbortController();
  const count = { renewed: 0, failed: 0 };
  let running: Promise<void> | undefined;
  let again = false;
  let timer: NodeJS.Timeout | undefined;

  // What is done here is nobody's request, whoever has caused it.
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
      .catch((error: unknown) => log.error({ cause: reasonOf(error) }, 'evidence could not be renewed; the next round tries again'))
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
    const standing = await evidenceStanding({ dossier: one.dossier, references: one.names, policy: inForce, now: at });
    const ends = standing?.missing === true ? at.getTime() : standing?.until?.getTime();
    const due = ends === undefined ? undefined : firstTry(at.getTime(), ends, Date.parse(one.dossier.gatheredAt), random());
    const plan = { revision: inForce.revision, names: one.names, due, ends, failures: 0, triedNow: 0 };
    plans.set(key, plan);
    // Others have their turn: envelopes are opened here.
    await new Promise((resolve) => setImmediate(resolve));
    return plan;
  }

  /** Under way, by evidence: a container that waits for one does not start another. */
  const underWay = new Map<string, Promise<boolean>>();

  function renew(one: EvidenceInUse, inForce: TrustPolicy, plan: Plan, milliseconds: number): Promise<boolean> {
    const key = keyOf(one);
    const begun =
      underWay.get(key) ??
      renewOnce(one, inForce, plan, milliseconds).finally(() => {
        underWay.delete(key);
      });
    underWay.set(key, begun);
    return begun;
  }

  async function renewOnce(one: EvidenceInUse, inForce: TrustPolicy, plan: Plan, milliseconds: number): Promise<boolean> {
    const facts = { image: one.imageId, names: one.names };
    try {
      const { dossier, names: references } = one;
      const services = images.services === undefined ? {} : { services: images.services };
      const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(milliseconds)]);
      const fresh = await renewEvidence({ dossier, references, policy: inForce, now: now(), answers, milliseconds, signal, ...services });
      if (fresh === undefined) throw new Error('nothing newer could be had');
      const verdicts = await images.renew(one, fresh);
      plans.delete(keyOf(one));
      count.renewed += 1;
      log.info({ ...facts, verdicts: verdicts.map(({ id, outcome }) => `${outcome} ${id}`) }, 'evidence was renewed');
      parts.onRenewed(verdicts);
      return true;
    } catch (error) {
      if (stop.signal.aborted) return false;
      answers.forget();
      plan.failures += 1;
      plan.due = nextTry(now().getTime(), plan.failures, random());
      count.failed += 1;
      const ended = plan.ends !== undefined && plan.ends <= now().getTime();
      const told = { ...facts, cause: reasonOf(error), until: textOf(plan.ends), next: textOf(plan.due) };
      if (ended) log.error(told, 'evidence has ended and can not be had anew: the image is not admitted until it is');
      else log.warn(told, 'evidence could not be had anew; what is there holds until its time');
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
        const standing = await evidenceStanding({ dossier, references, policy: inForce, now: at });
        if (standing?.missing !== true) return false;
        const plan = await planOf(one, inForce);
        if (!underWay.has(keyOf(one)) && at.getTime() - plan.triedNow < betweenTriesNow) return false;
        plan.triedNow = at.getTime();
        return renew(one, inForce, plan, milliseconds);
      });
      const waited = new Promise<readonly boolean[]>((resolve) => setTimeout(resolve, milliseconds, []).unref());
      return (await Promise.race([Promise.all(tries), waited])).includes(true);
    },
    counts() {
      const at = now().getTime();
      return { ...count, ended: [...plans.values()].filter(({ ends }) => ends !== undefined && ends <= at).length };
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
