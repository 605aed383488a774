import { parentPort } from 'node:worker_threads';
import type { Worker } from 'node:worker_threads';
import {
  PortcullisError,
  asPortcullisError,
  errnoOf,
  errorFromJson,
  errorToJson,
  isPortcullisError,
  meaningOfErrno,
  meansDamagedFileSystem,
  reasonOf,
} from '../errors/index.ts';
import type { SerialisedError } from '../errors/index.ts';
import { kernelError } from './ffi/errno.ts';

interface Request {
  readonly id: number;
  readonly call: string;
  readonly values: readonly unknown[];
}
type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: SerialisedError };

/** A call that every Worker answers. */
const PING = '.ping';
const nothing = (): void => undefined;

/** The functions that a Worker offers, by name. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the caller's type checks the parameters
export type Offer = Readonly<Record<string, (...values: any[]) => unknown>>;

/**
 * Runs the Worker side: answers calls until the port closes. `close` runs when the other side requests it.
 * Reports ready at once.
 */
export function serveCalls(offer: Offer, close: () => void = () => undefined): void {
  const port = parentPort;
  if (port === null) throw new TypeError('this module runs in a Worker');
  const answer = async ({ id, call, values }: Request): Promise<void> => {
    let reply: Reply;
    try {
      const handler = call === PING ? nothing : offer[call];
      if (handler === undefined) throw new TypeError(`no call ${call}`);
      reply = { id, value: await handler(...values) };
    } catch (error) {
      reply = { id, error: errorToJson(asPortcullisError(ofNode(error), unexpected(call))) };
    }
    port.postMessage(reply);
  };
  port.on('message', (message: Request | 'close') => {
    if (message !== 'close') return void answer(message);
    close();
    port.close();
  });
  port.postMessage('ready');
}

/**
 * Converts a failure of node:fs that describes the state of the node into the failure of a direct call. It is
 * not a defect of the call.
 */
function ofNode(thrown: unknown): unknown {
  const errno = errnoOf(thrown);
  if (isPortcullisError(thrown) || errno === undefined) return thrown;
  const { syscall = '', path = '' } = thrown as Partial<NodeJS.ErrnoException>;
  const meaning = meaningOfErrno(errno);
  const isOfNode = (meaning !== undefined && meaning !== 'gone') || meansDamagedFileSystem(errno);
  return isOfNode ? kernelError(errno, syscall, path) : thrown;
}

function unexpected(call: string): Omit<ConstructorParameters<typeof PortcullisError>[0], 'why' | 'cause'> {
  return {
    code: 'KERNEL_UNEXPECTED',
    kind: 'internal',
    attempted: call,
    on: '',
    fix: 'report this with the log of the daemon',
  };
}

/** A Worker from its owner's view: it is called by name. */
export interface Caller<Calls extends Offer> {
  call<Name extends keyof Calls & string>(
    name: Name,
    ...values: Parameters<Calls[Name]>
  ): Promise<Awaited<ReturnType<Calls[Name]>>>;
  /** Resolves when the Worker's event loop has handled it. */
  ping(): Promise<void>;
  /** Refuses new calls, waits for pending ones, and ends the Worker. */
  close(): Promise<void>;
}

/**
 * Runs the owner side: resolves when the Worker is ready. The Worker keeps the process alive only while a
 * call is pending.
 */
export async function connectCalls<Calls extends Offer>(worker: Worker): Promise<Caller<Calls>> {
  const pending = new Map<
    number,
    { call: string; resolve: (value: never) => void; reject: (reason: unknown) => void }
  >();
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  let lost: PortcullisError | undefined;
  let sequence = 0;
  let idle: (() => void) | undefined;

  const settled = (): void => {
    if (pending.size > 0) return;
    worker.unref();
    idle?.();
  };
  const lose = (why: string, cause?: unknown): PortcullisError => {
    const error = (lost ??= workerGone(why, cause));
    for (const { reject } of pending.values()) reject(error);
    pending.clear();
    idle?.();
    return error;
  };

  const ready = new Promise<void>((resolve, reject) => {
    worker.on('message', (message: Reply | 'ready') => {
      if (message === 'ready') {
        resolve();
        return;
      }
      const waiting = pending.get(message.id);
      pending.delete(message.id);
      if ('error' in message) waiting?.reject(errorFromJson(message.error));
      else waiting?.resolve(message.value as never);
      settled();
    });
    worker.once('error', (error) => {
      reject(lose(`the Worker failed: ${reasonOf(error)}`, error));
    });
    worker.once('exit', () => {
      reject(lose('the Worker has ended'));
    });
  });
  await ready;
  worker.unref();

  const send = (call: string, values: readonly unknown[]): Promise<never> => {
    if (lost !== undefined) return Promise.reject(lost);
    const id = ++sequence;
    return new Promise((resolve, reject) => {
      worker.postMessage({ id, call, values } satisfies Request);
      pending.set(id, { call, resolve, reject });
      worker.ref();
    });
  };

  return {
    call: (name, ...values) => send(name, values),
    ping: () => send(PING, []),
    async close() {
      lost ??= workerGone('it was closed');
      if (pending.size > 0) await new Promise<void>((resolve) => (idle = resolve));
      worker.ref();
      worker.postMessage('close');
      await exited;
    },
  };
}

/** Returns the failure of a call to a Worker that is closed or lost. */
export function workerGone(why: string, cause?: unknown): PortcullisError {
  return new PortcullisError({
    code: 'KERNEL_WORKER_GONE',
    kind: 'unavailable',
    attempted: 'call the kernel',
    on: '',
    why,
    fix: 'try again: another Worker is started; see the log of the daemon',
    ...(cause === undefined ? {} : { cause }),
  });
}
