import { AsyncLocalStorage } from 'node:async_hooks';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { FromWorker, SessionPlan, ToWorker } from './plan.ts';
import { createTokens } from './tokens.ts';

interface Session {
  readonly subject: string;
  readonly plan: SessionPlan;
}

/** The sessions of one Worker, from its start to its exit, by the number that the Worker gave them. */
export interface WorkerSessions {
  /** Takes the token of a client, and returns the answer to the Worker. */
  take(message: Extract<FromWorker, { type: 'take' }>): ToWorker;
  ended(message: Extract<FromWorker, { type: 'ended' }>): void;
  /** For a Worker that has ended, and its sessions with it. */
  drop(): void;
}

/** Counts sessions, and the URLs that wait for their clients, and limits both. */
export interface SessionLedger {
  /** Whether no session runs and no URL waits. */
  isEmpty(): boolean;
  /**
   * Returns the token of a new URL.
   * @throws PortcullisError RUNTIME_STREAMING_LIMIT
   */
  mint(subject: string, plan: SessionPlan): string;
  ofWorker(): WorkerSessions;
}

export function createSessionLedger(
  limits: { readonly maxSessions: number; readonly maxSessionsPerContainer: number },
  log: Logger,
): SessionLedger {
  const tokens = createTokens<Session>(() => performance.now());
  /** The sessions of every running Worker. */
  const live = new Set<Map<number, Session>>();
  // The end of a Worker does not belong to the request that happened to start it.
  const outside = AsyncLocalStorage.snapshot();

  const open = (): Session[] => [
    ...[...live].flatMap((sessions) => [...sessions.values()]),
    ...tokens.waiting(),
  ];
  return {
    isEmpty: () => open().length === 0,
    mint: (subject, plan) => {
      const all = open();
      if (all.length >= limits.maxSessions)
        throw tooMany(
          subject,
          `${all.length} sessions are open or have a URL that is not yet used`,
          'streaming.maxSessions',
        );
      const mine = all.filter((one) => one.subject === subject).length;
      if (mine >= limits.maxSessionsPerContainer)
        throw tooMany(
          subject,
          `it has ${mine} sessions open or URLs not yet used`,
          'streaming.maxSessionsPerContainer',
        );
      const token = tokens.mint({ subject, plan });
      if (token === undefined)
        throw tooMany(
          subject,
          'too many stream URLs wait for their clients',
          'wait, because these URLs expire within a minute',
        );
      return token;
    },
    ofWorker: () => {
      const sessions = new Map<number, Session>();
      live.add(sessions);
      const end = ({ id, how }: Extract<FromWorker, { type: 'ended' }>): void => {
        const session = sessions.get(id);
        sessions.delete(id);
        if (session !== undefined)
          log.info({ kind: session.plan.kind, subject: session.subject, ...how }, 'stream ended');
      };
      return {
        take: ({ id, kind, token }) => {
          const session = tokens.take(token);
          if (session?.plan.kind !== kind)
            return { type: 'refused', id, status: 404, why: '404 page not found' };
          sessions.set(id, session);
          return { type: 'taken', id, plan: session.plan };
        },
        ended: (message) => outside(end, message),
        drop: () => void live.delete(sessions),
      };
    },
  };
}

function tooMany(subject: string, why: string, limit: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_STREAMING_LIMIT',
    kind: 'exhausted',
    attempted: 'open a stream to',
    on: subject.slice(0, 13),
    why,
    fix: `try again when some sessions have ended; the limit is ${limit}`,
  });
}
