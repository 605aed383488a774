import { Died } from './client.ts';
import { usualErrnos } from './faults.ts';
import type { Errnos, Odds, Troubles } from './faults.ts';
import { createIncarnation } from './incarnation.ts';
import type { Incarnation } from './incarnation.ts';
import type { Scheduler } from './scheduler.ts';
import type { Report } from './history-events.ts';

/** The event of a history when its daemon is killed. */
export const daemonDies = '† the daemon dies';

/** A daemon that has only begun. */
export interface Begun {
  readonly life: Incarnation;
  readonly ended: Promise<never>;
  readonly broken: (cause: unknown) => void;
}

/** @param onCrash runs when the life crashes, in addition to the loss of all that it waits for */
export function beginLife(
  machine: { readonly scheduler: Scheduler; readonly report: Report; readonly troubles: Troubles },
  odds: Odds,
  onCrash: () => void,
  errnos: Errnos = usualErrnos,
): Begun {
  const { scheduler, report, troubles } = machine;
  const { promise: ended, reject } = Promise.withResolvers<never>();
  ended.catch(() => undefined);
  const life = createIncarnation({
    ...{ scheduler, odds, report, troubles, errnos },
    onCrash: () => {
      report(daemonDies);
      scheduler.clear();
      onCrash();
      reject(new Died());
    },
  });
  return { life, ended, broken: reject };
}
