import { PortcullisError } from '../../base/errors/index.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerEffects } from './container-effects.ts';

/** A request that waits for the end of the process, or for the first deadline of all requests. */
interface Waiter {
  readonly at: number;
  readonly ready: () => void;
}

/** The stops of one container, until its exit is recorded. */
interface Session {
  /** The requests that were not cancelled before their deadline. */
  readonly waiters: Set<Waiter>;
  readonly exited: Promise<void>;
  isGone: boolean;
  isAsking: boolean;
  isWaiting: boolean;
  /** Ends the pause of the loop that waits for all requests. */
  wake: () => void;
}

/** Returns the first deadline: without a request, the process may take any time. */
function deadlineOf({ waiters }: Session): number {
  let first = Infinity;
  for (const { at } of waiters) first = Math.min(first, at);
  return first;
}

/** A timer cannot be withdrawn: one for the deadline would outlive a cancelled request by hours. */
const longestPauseMs = 1_000;
const killPatienceMs = 60_000;
/**
 * A process that blocks a signal for longer will read it. For a shorter time, an OCI runtime blocks signals
 * before it executes the program, and the C library while it creates a thread: the kernel would drop the
 * signal afterwards.
 */
const blockedMs = 100;
/** How long a stop continues while its steps fail, such as the record of an exit on a full disk. */
const failurePatienceMs = 2_000;

/**
 * Stops containers: sends the stop signal once, then SIGKILL after the deadline, repeated at growing
 * intervals, until the process is gone and its exit is recorded. An error that prevents the record is thrown
 * unchanged. A second stop with a shorter time shortens the time of the first one; a longer time changes
 * nothing. A stop that is cancelled before its deadline leaves the process running, which may still end by
 * the stop signal.
 */
export function createStopper(parts: {
  readonly effects: Pick<ContainerEffects, 'kill' | 'reception' | 'isAlive' | 'clock'>;
  /** Called before a container is killed. */
  readonly kills: (id: string) => void;
  readonly exited: (id: string) => Promise<void>;
  /** Records the exit of a container whose process is gone, or makes sure that it is reported soon. */
  readonly conclude: (id: string) => Promise<void>;
  readonly current: (id: string) => ContainerRecord | undefined;
}): {
  stop(id: string, timeoutMs: number, cancelled?: AbortSignal): Promise<void>;
  isStopping(id: string): boolean;
} {
  const { effects, current } = parts;
  const { clock } = effects;
  const sessions = new Map<string, Session>();

  const signal = (id: string, name: string): void => {
    const record = current(id);
    if (record !== undefined) effects.kill(record, name);
  };
  /**
   * The kernel drops a signal to the first process of a PID namespace that has no handler for it, and a
   * process that has just started has no handler yet. So the stop signal waits until the process handles it,
   * waits for it, or has blocked it for a while: the process gets it once, and early stops are not lost.
   */
  const ask = async (record: ContainerRecord, session: Session): Promise<void> => {
    let pause = 5;
    let blockedSince: number | undefined;
    while (!session.isGone && session.waiters.size > 0 && clock.now() < deadlineOf(session)) {
      try {
        const reception = effects.reception(record, record.stopSignal);
        const now = clock.now();
        blockedSince = reception === 'blocked' ? (blockedSince ?? now) : undefined;
        const isBlockedOnPurpose = blockedSince !== undefined && now - blockedSince >= blockedMs;
        if (reception === 'received' || isBlockedOnPurpose) return signal(record.id, record.stopSignal);
      } catch {
        // The process could not be examined or signalled for now, for example for lack of free descriptors.
      }
      await clock.sleep(pause);
      pause = Math.min(pause * 2, 100);
    }
  };
  const askOnce = async (record: ContainerRecord, session: Session): Promise<void> => {
    if (session.isAsking) return;
    session.isAsking = true;
    await ask(record, session).finally(() => (session.isAsking = false));
  };
  const open = (id: string): Session => {
    const session: Session = {
      ...{ waiters: new Set<Waiter>(), exited: parts.exited(id), wake: () => undefined },
      ...{ isGone: false, isAsking: false, isWaiting: false },
    };
    sessions.set(id, session);
    void session.exited.then(() => {
      session.isGone = true;
      sessions.delete(id);
      session.wake();
    });
    return session;
  };

  const end = async (record: ContainerRecord, session: Session): Promise<void> => {
    parts.kills(record.id);
    const isGone = (): boolean => session.isGone;
    const patience = clock.now() + killPatienceMs;
    let failing: number | undefined;
    for (let pause = 20; !isGone(); pause = Math.min(pause * 2, 2_000)) {
      let alive = true;
      try {
        alive = effects.isAlive(record);
        if (alive) signal(record.id, 'SIGKILL');
        else await parts.conclude(record.id);
        failing = undefined;
      } catch (cause) {
        failing ??= clock.now();
        if (clock.now() - failing > failurePatienceMs) throw cause;
      }
      await Promise.race([session.exited, clock.sleep(pause)]);
      if (!isGone() && clock.now() > patience) throw alive ? stuck(record) : silent(record);
    }
  };

  return {
    isStopping: (id) => (sessions.get(id)?.waiters.size ?? 0) > 0,
    stop: async (id, timeoutMs, cancelled) => {
      const record = current(id);
      if (
        record === undefined ||
        record.phase === 'exited' ||
        record.phase === 'removing' ||
        record.phase === 'creating'
      )
        return;
      cancelled?.throwIfAborted();
      const session = sessions.get(id) ?? open(id);
      const { promise, resolve, reject } = Promise.withResolvers<undefined>();
      const now = clock.now();
      // A created container waits in the code of the runtime, which handles no signal.
      const waiter: Waiter = {
        at: now + (record.phase === 'running' ? timeoutMs : 0),
        ready: () => resolve(undefined),
      };
      const isFirst = session.waiters.size === 0;
      session.waiters.add(waiter);
      const cancel = (): void => {
        session.waiters.delete(waiter);
        reject(cancelled?.reason);
      };
      cancelled?.addEventListener('abort', cancel, { once: true });
      try {
        if (isFirst && waiter.at > now) void askOnce(record, session);
        void waitForAll(session, clock);
        await promise.finally(() => cancelled?.removeEventListener('abort', cancel));
        await end(record, session);
      } finally {
        session.waiters.delete(waiter);
      }
    },
  };
}

/** Waits for all requests together: many of them must not wake each other. */
async function waitForAll(session: Session, clock: ContainerEffects['clock']): Promise<void> {
  session.wake();
  if (session.isWaiting) return;
  session.isWaiting = true;
  while (!session.isGone && session.waiters.size > 0) {
    const left = deadlineOf(session) - clock.now();
    if (left <= 0) break;
    const woken = new Promise<void>((resolve) => (session.wake = resolve));
    await Promise.race([woken, clock.sleep(Math.min(left, longestPauseMs))]);
  }
  session.isWaiting = false;
  for (const { ready } of session.waiters) ready();
}

function stuck(record: ContainerRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_STOP_STUCK',
    kind: 'deadline',
    attempted: 'stop container',
    on: record.id.slice(0, 13),
    why: `its process ${record.init?.pid ?? ''} does not end ${killPatienceMs / 1000} s after SIGKILL, for example because it waits for a device or a file server`,
    fix: 'see what it waits for (state D in /proc/PID/status); the stop may be repeated',
  });
}

/** The watch of exits always ends, whatever a monitor does: this error is a defect. */
function silent(record: ContainerRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_EXIT_UNKNOWN',
    kind: 'deadline',
    attempted: 'stop container',
    on: record.id.slice(0, 13),
    why: `its process has ended, and ${killPatienceMs / 1000} s later neither its monitor nor the kernel has reported how`,
    fix: 'repeat the stop, and report this with the log of the daemon',
  });
}
