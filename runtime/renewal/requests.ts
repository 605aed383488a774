import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { keepAnswers, renewEvidence } from '../../trust/evidence/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import type { EvidenceInUse, ImageStore } from '../images/types.ts';
import { keyOf } from './plans.ts';
import type { Plan, Plans } from './plans.ts';
import { nextTry } from './schedule.ts';

export interface RequestsDeps {
  readonly images: Pick<ImageStore, 'renew'> & Partial<Pick<ImageStore, 'services'>>;
  /** Receives verdicts on newer evidence: running containers may have to be decided again. */
  readonly onRenewed: (verdicts: readonly Verdict[]) => void;
  readonly log: Logger;
  readonly plans: Plans;
  readonly now: () => Date;
  readonly random: () => number;
  /** Ends the requests. */
  readonly signal: AbortSignal;
}

/** Requests for newer evidence. A container that waits for one does not start another. */
export interface Requests {
  /** Renews evidence within the given time, and plans the next try. Returns whether newer evidence came. */
  renew(one: EvidenceInUse, inForce: TrustPolicy, plan: Plan, milliseconds: number): Promise<boolean>;
  isUnderWay(one: EvidenceInUse): boolean;
  /** Waits for all requests. */
  settled(): Promise<unknown>;
  /** Counts since the start. */
  readonly count: { readonly renewed: number; readonly failed: number };
}

export function createRequests(deps: RequestsDeps): Requests {
  const { images, log, plans, now, signal } = deps;
  const answers = keepAnswers();
  const count = { renewed: 0, failed: 0 };
  const underWay = new Map<string, Promise<boolean>>();

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
      const fresh = await renewEvidence({
        dossier,
        references,
        policy: inForce,
        now: now(),
        answers,
        milliseconds,
        signal: AbortSignal.any([signal, AbortSignal.timeout(milliseconds)]),
        ...services,
      });
      if (fresh === undefined) throw new Error('no newer evidence is available');
      const verdicts = await images.renew(one, fresh);
      plans.forget(one);
      count.renewed += 1;
      log.info(
        { ...facts, verdicts: verdicts.map(({ id, outcome }) => `${outcome} ${id}`) },
        'evidence was renewed',
      );
      deps.onRenewed(verdicts);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      answers.forget();
      plan.failures += 1;
      plan.due = nextTry(now().getTime(), plan.failures, deps.random());
      count.failed += 1;
      const ended = plan.ends !== undefined && plan.ends <= now().getTime();
      const reported = { ...facts, cause: reasonOf(error), until: textOf(plan.ends), next: textOf(plan.due) };
      if (ended)
        log.error(
          reported,
          'evidence has expired and cannot be renewed: the image is not admitted until it is',
        );
      else
        log.warn(reported, 'evidence could not be renewed; the current evidence is valid until it expires');
      return false;
    }
  }

  return {
    renew(one, inForce, plan, milliseconds) {
      const key = keyOf(one);
      const begun =
        underWay.get(key) ??
        renewOnce(one, inForce, plan, milliseconds).finally(() => {
          underWay.delete(key);
        });
      underWay.set(key, begun);
      return begun;
    },
    isUnderWay: (one) => underWay.has(keyOf(one)),
    settled: () => Promise.allSettled(underWay.values()),
    count,
  };
}

function textOf(time: number | undefined): string | undefined {
  return time === undefined ? undefined : new Date(time).toISOString();
}
