import type { PortcullisError } from '../../base/errors/index.ts';
import type { PeerCredentials } from './peer.ts';

/** A call when it begins. */
export interface StartedCall {
  readonly rpc: string;
  /** `runtime.v1.RuntimeService`. */
  readonly service: string;
  /** The call changes nothing. */
  readonly readsOnly: boolean;
  readonly requestId: string;
  /** Undefined when the connection no longer exists. */
  readonly peer: PeerCredentials | undefined;
  /** Returns a header of the call as text. Undefined when the call has no such header. */
  readonly header: (name: string) => string | undefined;
}

export interface CallOutcome {
  /** gRPC status code; 0 is OK. */
  readonly code: number;
  readonly failure?: PortcullisError;
  /** The response of a successful unary call. */
  readonly response?: object;
  readonly milliseconds: number;
}

/** An observer's callbacks for one call. */
export interface ObservedCall {
  /** Called with the decoded request, before the handler. A rejection refuses the call. */
  admit?(request: unknown): Promise<void>;
  /** Runs the handler, for example within a span. */
  within?<T>(body: () => Promise<T>): Promise<T>;
  /** Called exactly once, whatever the outcome of the call. Must not throw. */
  end(outcome: CallOutcome): void;
}

/** Observes every call, for metrics, traces or audit. */
export interface CallObserver {
  begin(call: StartedCall): ObservedCall;
}

/** Combines several observers into one. The first is the outermost. */
export function observeAll(observers: readonly CallObserver[], call: StartedCall): Required<ObservedCall> {
  const observed = observers.map((observer) => observer.begin(call));
  return {
    admit: async (request) => {
      for (const one of observed) await one.admit?.(request);
    },
    within: (body) =>
      observed.reduceRight<typeof body>(
        (inner, one) => (one.within === undefined ? inner : () => one.within?.(inner) ?? inner()),
        body,
      )(),
    end: (outcome) => {
      for (const one of observed) one.end(outcome);
    },
  };
}
