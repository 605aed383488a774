import type { PortcullisError } from '../../base/errors/index.ts';
import type { PeerCredentials } from './peer.ts';

/** A call as it begins. */
export interface StartedCall {
  readonly rpc: string;
  /** `runtime.v1.RuntimeService`. */
  readonly service: string;
  /** Nothing changes by it. */
  readonly readsOnly: boolean;
  readonly requestId: string;
  /** Undefined when the connection is gone already. */
  readonly peer: PeerCredentials | undefined;
  /** A header of the call as text; undefined when it is not there. */
  readonly header: (name: string) => string | undefined;
}

export interface CallOutcome {
  /** gRPC status code; 0 is OK. */
  readonly code: number;
  readonly failure?: PortcullisError;
  /** Of a unary call that succeeded. */
  readonly response?: object;
  readonly milliseconds: number;
}

/** What an observer makes of one call. */
export interface ObservedCall {
  /** With the decoded request, before the handler; a rejection refuses the call. */
  admit?(request: unknown): Promise<void>;
  /** Runs the handler, as within a span. */
  within?<T>(body: () => Promise<T>): Promise<T>;
  /** Exactly once, whatever became of the call. Must not throw. */
  end(outcome: CallOutcome): void;
}

/** Sees every call: metrics, traces, audit. */
export interface CallObserver {
  begin(call: StartedCall): ObservedCall;
}

/** Several observers as one; the first is the outermost. */
export function observeAll(observers: readonly CallObserver[], call: StartedCall): Required<ObservedCall> {
  const observed = observers.map((observer) => observer.begin(call));
  return {
    admit: async (request) => {
      for (const one of observed) await one.admit?.(request);
    },
    within: (body) =>
      observed.reduceRight<typeof body>((inner, one) => (one.within === undefined ? inner : () => one.within?.(inner) ?? inner()), body)(),
    end: (outcome) => {
      for (const one of observed) one.end(outcome);
    },
  };
}
