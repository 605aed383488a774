import type { Odds, Troubles } from './faults.ts';
import { noFaults } from './faults.ts';
import { Broken, hold } from './invariants.ts';
import { Deadlock } from './scheduler.ts';
import type { Scheduler } from './scheduler.ts';
import type { Report } from './history-events.ts';

/** The daemon died during a request. */
export class Died extends Error {}

/** One life of a daemon, as its clients see it. */
export interface Life {
  /** Rejects with {@link Died}, or with the invariant that is broken. */
  readonly ended: Promise<never>;
  kill(): void;
  /** From now on nothing fails. */
  stopFaults(): void;
}

/** A kubelet: it repeats its requests after a crash of the daemon or a failure, with growing delays. */
export interface Client<Node extends Life> {
  readonly node: () => Node;
  readonly crashes: () => number;
  /** Begins a request, which continues while others are made. @param what for readers of the history */
  start<T>(what: string, request: (node: Node) => Promise<T>): Promise<T>;
  /** Lets the world continue until `done` settles. */
  drive<T>(done: Promise<T>): Promise<T>;
  /** Sends a request and waits until it is answered. */
  call<T>(what: string, request: (node: Node) => Promise<T>): Promise<T>;
  /** Lets background work take some turns. */
  settle(turns?: number): Promise<void>;
  wait(ms: number): Promise<void>;
  /** Kills the daemon, runs `between`, and starts the daemon again. */
  restart(between: () => void): Promise<void>;
  /** Stops the faults: from now on every request must succeed. */
  stopFaults(): void;
}

export interface ClientDeps<Node extends Life> {
  readonly scheduler: Scheduler;
  readonly odds: Odds;
  readonly troubles: Troubles;
  readonly report: Report;
  /** Starts the daemon. When that fails, nothing of it continues. */
  readonly boot: (odds: Odds) => Promise<Node>;
  /** Whether faults explain a failure: the request is repeated. */
  readonly passes: (cause: unknown) => boolean;
}

const mostAttempts = 60;
const mostAttemptsWithoutFaults = 3;

export async function createClient<Node extends Life>(deps: ClientDeps<Node>): Promise<Client<Node>> {
  const { scheduler, troubles, report, passes } = deps;
  let areFaultsStopped = false;
  let crashes = 0;
  const reason = (cause: unknown): string => (cause instanceof Died ? 'the daemon died' : String(cause));
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => scheduler.later(ms, resolve));

  const drive = async <T>(done: Promise<T>): Promise<T> => {
    try {
      return await scheduler.runUntil(done);
    } catch (cause) {
      if (!(cause instanceof Deadlock)) throw cause;
      throw new Broken(
        'everything ends',
        `${[...open].join(', ') || 'the start of the daemon'}: ${cause.message}`,
      );
    }
  };
  /** Requests without an answer yet. */
  const open = new Set<string>();

  /** Starts the daemon until it stays up, as a service manager repeats a failed start. */
  const bootUntilUp = async (): Promise<Node> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await deps.boot(areFaultsStopped || attempt > 5 ? noFaults : deps.odds);
      } catch (cause) {
        if (!(cause instanceof Died) && !passes(cause)) throw cause;
        hold('everything ends', attempt < mostAttempts, `the daemon does not start: ${reason(cause)}`);
        report(`  the daemon does not start: ${reason(cause)}`);
        await sleep(Math.min(1_000 * 2 ** attempt, 30_000));
      }
    }
  };
  let node = await drive(bootUntilUp());
  let booting: Promise<void> | undefined;
  /** The first caller that finds the daemon dead starts it, once. */
  const revive = async (dead: Node): Promise<void> => {
    if (node !== dead) return;
    booting ??= bootUntilUp().then((next) => {
      node = next;
      if (areFaultsStopped) node.stopFaults();
      booting = undefined;
    });
    await booting;
  };

  const start = async <T>(what: string, request: (node: Node) => Promise<T>): Promise<T> => {
    const name = `${what} (since ${scheduler.now()} ms)`;
    open.add(name);
    try {
      let failuresWithoutFaults = 0;
      for (let attempt = 1; ; attempt += 1) {
        while (booting !== undefined) await booting;
        const asked = node;
        const beganWithoutFaults = areFaultsStopped;
        try {
          // `ended` comes first: a dead daemon answers nothing, not even an answer that it had ready.
          return await Promise.race([asked.ended, request(asked)]);
        } catch (cause) {
          const died = cause instanceof Died;
          if (!died && !passes(cause)) throw cause;
          if (beganWithoutFaults) failuresWithoutFaults += 1;
          const mayRepeat = attempt < mostAttempts && failuresWithoutFaults < mostAttemptsWithoutFaults;
          hold('everything ends', mayRepeat, () => `${what}: ${reason(cause)}, ${attempt} times`);
          report(`  ${what}: ${reason(cause)}`);
          if (died) {
            crashes += 1;
            await revive(asked);
          } else await sleep(Math.min(500 * 2 ** attempt, 60_000));
        }
      }
    } finally {
      open.delete(name);
    }
  };
  const call = <T>(what: string, request: (node: Node) => Promise<T>): Promise<T> =>
    drive(start(what, request));

  return {
    node: () => node,
    crashes: () => crashes,
    start,
    drive,
    call,
    settle: async (turns = 12) => {
      for (let turn = 0; turn < turns; turn += 1) await call('a pause', () => scheduler.step());
    },
    // Also waits when the daemon dies meanwhile, which is then started.
    wait: async (ms) => {
      await drive(sleep(ms));
      await call('a pause', () => scheduler.step());
    },
    restart: async (between) => {
      node.kill();
      between();
      await drive(revive(node));
    },
    stopFaults: () => {
      areFaultsStopped = true;
      troubles.end();
      node.stopFaults();
    },
  };
}
