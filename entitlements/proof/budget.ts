import { entitlementsError } from '../errors.ts';

/**
 * The maximum number of nodes in one proof. The default profile takes several thousand, docker's profile for
 * three architectures about 20,000.
 */
const MAX_NODES = 4_000_000;

/** The maximum time of one proof, in milliseconds. */
const MAX_MILLISECONDS = 2000;

/** The maximum cost of one proof. By default it is refused above 4 million nodes or two seconds. */
export interface Budget {
  readonly nodes?: number;
  readonly milliseconds?: number;
  /** Returns milliseconds since any moment. Default: the wall clock. */
  readonly clock?: () => number;
}

/** The remaining budget of one proof. */
export interface Meter {
  /** Counts one step of work. @throws ENTITLEMENTS_TOO_COMPLEX when the time is over */
  readonly tick: () => void;
  readonly nodes: number;
  /** Returns the error of a proof that needs more nodes. */
  readonly tooManyNodes: () => Error;
}

/** Starts the time of a proof. */
export function startMeter({
  nodes = MAX_NODES,
  milliseconds = MAX_MILLISECONDS,
  clock = () => performance.now(),
}: Budget): Meter {
  const until = clock() + milliseconds;
  let ticks = 0;
  return {
    tick() {
      ticks += 1;
      if ((ticks & 0x3ff) === 0 && clock() > until) {
        throw tooComplex(`the proof takes more than ${milliseconds / 1000} seconds`);
      }
    },
    nodes,
    tooManyNodes: () => tooComplex(`the decision diagram has more than ${nodes} nodes`),
  };
}

function tooComplex(why: string): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted: 'prove seccomp filter',
    on: '',
    why,
    fix: 'use fewer or simpler argument conditions',
  });
}
