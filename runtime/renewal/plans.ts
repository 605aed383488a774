import { smallest } from '../../base/lists/index.ts';
import { evidenceStanding } from '../../trust/evidence/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import type { EvidenceInUse } from '../images/types.ts';
import { firstTry } from './schedule.ts';

/** The plan for one image's evidence under one policy. */
export interface Plan {
  readonly revision: string;
  readonly names: readonly string[];
  /** Milliseconds since 1970; undefined: nothing in it expires. */
  due: number | undefined;
  ends: number | undefined;
  failures: number;
  triedNow: number;
  /** When the plan was last asked for. A clock that shows an earlier time was ahead, and so is the plan. */
  seen: number;
}

/** When each image's evidence is renewed. A plan is made when it is first asked for. */
export interface Plans {
  /** Returns the plan of an image's evidence under the policy in force. */
  of(one: EvidenceInUse, inForce: TrustPolicy): Promise<Plan>;
  /** Forgets the plan of evidence that was renewed. */
  forget(one: EvidenceInUse): void;
  /** Forgets the plans of all other evidence. */
  keepOnly(inUse: readonly EvidenceInUse[]): void;
  /** Returns the milliseconds until the next renewal is due, or undefined if none is planned. */
  untilNext(): number | undefined;
  /** Returns the plans of evidence that has expired. */
  ended(): readonly { readonly names: readonly string[]; readonly ends: number }[];
}

export function createPlans(now: () => Date, random: () => number): Plans {
  const plans = new Map<string, Plan>();
  return {
    async of(one, inForce) {
      const key = keyOf(one);
      const before = plans.get(key);
      const at = now();
      if (before?.revision === inForce.revision && before.seen <= at.getTime()) {
        before.seen = at.getTime();
        return before;
      }
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
      const { revision } = inForce;
      const plan = { revision, names: one.names, due, ends, failures: 0, triedNow: 0, seen: at.getTime() };
      plans.set(key, plan);
      // Yields to other work, because opening the envelopes here takes time.
      await new Promise((resolve) => setImmediate(resolve));
      return plan;
    },
    forget: (one) => void plans.delete(keyOf(one)),
    keepOnly(inUse) {
      const known = new Set(inUse.map(keyOf));
      for (const key of plans.keys()) if (!known.has(key)) plans.delete(key);
    },
    untilNext() {
      const at = now().getTime();
      const waits = [...plans.values()].flatMap(({ due }) => (due === undefined ? [] : [due - at]));
      return waits.length === 0 ? undefined : smallest(waits);
    },
    ended() {
      const at = now().getTime();
      return [...plans.values()].flatMap(({ names, ends }) =>
        ends !== undefined && ends <= at ? [{ names, ends }] : [],
      );
    },
  };
}

/** Identifies the evidence of one image. */
export function keyOf({ imageId, dossier }: EvidenceInUse): string {
  return `${imageId} ${dossier.id}`;
}
