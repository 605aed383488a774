import { PortcullisError } from '../../base/errors/index.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerEffects } from './container-effects.ts';

interface Session {
  deadline: number;
  /** Wakes every waiter when the deadline moved. */
  changed: () => void;
  moved: Promise<void>;
}

const killPatienceMs = 60_000;

/**
 * Stops containers: the stop signal once, SIGKILL after the deadline and again, ever more slowly, until the process is gone.
 * A second stop with a shorter time shortens the first one's; a longer one changes nothing.
 */
export function createStopper(parts: {
  readonly effects: Pick<ContainerEffects, 'kill' | 'heeds' | 'clock'>;
  readonly exited: (id: string) => Promise<void>;
  readonly current: (id: string) => ContainerRecord | undefined;
}): { stop(id: string, timeoutMs: number): Promise<void> } {
  const { effects, current } = parts;
  const { clock } = effects;
  const sessions = new Map<string, Session>();

  const signal = (id: string, name: string): void => {
    const record = current(id);
    if (record !== undefined) effects.kill(record, name);
  };
  /**
   * The kernel drops a signal to the first process of a PID namespace that has no handler for it, as one that has just been
   * started has not yet. So the stop signal waits for its handler: the process gets it once, and early stops are not lost.
   */
  const ask = async (record: ContainerRecord, session: Session, isGone: () => boolean): Promise<void> => {
    let pause = 5;
    while (!isGone() && clock.now() < session.deadline) {
      if (effects.heeds(record, record.stopSignal)) return signal(record.id, record.stopSignal);
      await clock.sleep(pause);
      pause = Math.min(pause * 2, 100);
    }
  };
  const open = (id: string, deadline: number): Session => {
    const session: Session = { deadline, changed: () => undefined, moved: Promise.resolve() };
    arm(session);
    sessions.set(id, session);
    return session;
  };

  return {
    stop: async (id, timeoutMs) => {
      const record = current(id);
      if (record === undefined || record.phase === 'exited' || record.phase === 'removing' || record.phase === 'creating') return;
      let reached = false;
      const exited = parts.exited(id).then(() => {
        reached = true;
      });
      const isGone = (): boolean => reached;
      // A created container waits in the runtime's own code: nothing in it can heed a signal.
      const deadline = clock.now() + (record.phase === 'running' ? timeoutMs : 0);
      const standing = sessions.get(id);
      const session = standing ?? open(id, deadline);
      if (standing !== undefined && deadline < standing.deadline) {
        standing.deadline = deadline;
        standing.changed();
      }
      if (standing === undefined && deadline > clock.now()) void ask(record, session, isGone);
      try {
        while (!isGone() && clock.now() < session.deadline)
          await Promise.race([exited, clock.sleep(session.deadline - clock.now()), session.moved]);
        let pause = 20;
        const patience = clock.now() + killPatienceMs;
        while (!isGone()) {
          signal(id, 'SIGKILL');
          await Promise.race([exited, clock.sleep(pause)]);
          pause = Math.min(pause * 2, 2_000);
          if (!isGone() && clock.now() > patience) throw stuck(record);
        }
      } finally {
        if (standing === undefined) sessions.delete(id);
      }
    },
  };
}

function arm(session: Session): void {
  session.moved = new Promise((resolve) => {
    session.changed = () => {
      arm(session);
      resolve();
    };
  });
}

function stuck(record: ContainerRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_STOP_STUCK',
    kind: 'deadline',
    attempted: 'stop container',
    on: record.id.slice(0, 13),
    why: `its process ${record.init?.pid ?? ''} does not end ${killPatienceMs / 1000} s after SIGKILL, as when it waits for a device or a file server`,
    fix: 'see what it waits for (state D in /proc/PID/status); the stop may be repeated',
  });
}
