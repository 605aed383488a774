import { asPortcullisError, errorFromJson, errorToJson } from '../errors/index.ts';
import type { Failure, PortcullisError, SerialisedError } from '../errors/index.ts';

/** The functions that one side of a port offers to the other side, by name. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the caller's type checks the parameters
export type Offer = Readonly<Record<string, (...values: any[]) => unknown>>;

/** Calls the functions of the other side. Values are copied (structured clone). */
export interface Caller<Theirs extends Offer> {
  /**
   * @throws the error of the function, as PortcullisError; an error for a value that cannot be copied; an
   * error when the other side is lost
   */
  call<Name extends keyof Theirs & string>(
    name: Name,
    ...values: Parameters<Theirs[Name]>
  ): Promise<Awaited<ReturnType<Theirs[Name]>>>;
  /** Calls a function without waiting for an answer and without learning of a failure. */
  notify<Name extends keyof Theirs & string>(name: Name, ...values: Parameters<Theirs[Name]>): void;
}

interface Request {
  readonly call: string;
  readonly values: readonly unknown[];
  /** Absent: no caller waits for an answer. */
  readonly id?: number;
}
type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: SerialisedError };

/** A message between the two sides. */
export type ExchangeMessage = Request | Reply;

/** The parts of a failure apart from its reason. */
export type Blame = Omit<Failure, 'why' | 'cause'>;

export interface Exchange<Theirs extends Offer> extends Caller<Theirs> {
  /** Receives each message of the other side. Resolves when the message has been handled. */
  hear(message: ExchangeMessage): Promise<void> | void;
  /** Fails all pending calls and each later call. */
  lose(error: PortcullisError): void;
}

/** Creates one side of a port over which each side calls functions of the other by name. */
export function createExchange<Theirs extends Offer>(side: {
  readonly post: (message: ExchangeMessage) => void;
  /** The functions that the other side may call. If this is a promise, calls wait for it. */
  readonly offer: Offer | Promise<Offer>;
  /** Describes a call to an offered function that throws something other than a PortcullisError. */
  readonly blame: (call: string) => Blame;
  /** Called when calls begin to wait for answers, and when none waits any more. */
  readonly onWaiting?: (isWaiting: boolean) => void;
}): Exchange<Theirs> {
  const pending = new Map<number, { resolve: (value: never) => void; reject: (reason: unknown) => void }>();
  let sequence = 0;
  let lost: PortcullisError | undefined;
  const { post, offer, blame, onWaiting = () => undefined } = side;

  const answer = async ({ call, values, id }: Request): Promise<void> => {
    try {
      const offered = offer instanceof Promise ? await offer : offer;
      const handler = Object.hasOwn(offered, call) ? offered[call] : undefined;
      if (handler === undefined) throw new TypeError(`no call ${call}`);
      const value = await handler(...values);
      if (id !== undefined) post({ id, value });
    } catch (thrown) {
      if (id !== undefined) post({ id, error: errorToJson(asPortcullisError(thrown, blame(call))) });
    }
  };

  return {
    call: (call, ...values) =>
      new Promise((resolve, reject) => {
        if (lost !== undefined) return reject(lost);
        const id = ++sequence;
        post({ id, call, values });
        pending.set(id, { resolve, reject });
        if (pending.size === 1) onWaiting(true);
      }),
    notify(call, ...values) {
      if (lost === undefined) post({ call, values });
    },
    hear(message) {
      if ('call' in message) return answer(message);
      const waiting = pending.get(message.id);
      if (!pending.delete(message.id)) return;
      if (pending.size === 0) onWaiting(false);
      if ('error' in message) waiting?.reject(errorFromJson(message.error));
      else waiting?.resolve(message.value as never);
    },
    lose(error) {
      lost ??= error;
      if (pending.size > 0) onWaiting(false);
      for (const { reject } of pending.values()) reject(lost);
      pending.clear();
    },
  };
}
