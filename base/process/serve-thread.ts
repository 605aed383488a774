import { parentPort } from 'node:worker_threads';
import { asPortcullisError, errorToJson } from '../errors/index.ts';
import { createExchange } from './exchange.ts';
import type { Blame, Caller, ExchangeMessage, Offer } from './exchange.ts';
import type { OwnersOwn, ThreadsOwn } from './thread-messages.ts';

/** The work that a thread does for its owner. */
export interface Service {
  readonly offer: Offer;
  /**
   * Releases everything that keeps the thread alive. Pending calls get their answers afterwards, and then the
   * port is closed.
   */
  readonly close?: () => Promise<void> | void;
}

/**
 * Runs the Worker's side of `connectThread`: answers calls until the owner closes it. Calls wait until the
 * thread is open.
 * @param blame describes a call, or the opening, that throws something other than a PortcullisError
 * @param open may already call the owner; if it throws, the start of the thread fails with that error
 */
export async function serveThread<Owner extends Offer>(
  blame: (call: string) => Blame,
  open: (owner: Caller<Owner>) => Promise<Service> | Service,
): Promise<void> {
  const port = parentPort;
  if (port === null) throw new TypeError('this module runs in a Worker');
  const { promise: opened, resolve } = Promise.withResolvers<Offer>();
  const running = new Set<Promise<void>>();
  const exchange = createExchange<Owner & OwnersOwn>({
    post: (message) => port.postMessage(message),
    offer: opened,
    blame,
  });
  port.on('message', (message: ExchangeMessage) => {
    const dealtWith = exchange.hear(message);
    if (dealtWith === undefined) return;
    running.add(dealtWith);
    void dealtWith.then(() => running.delete(dealtWith));
  });
  const owner: Caller<OwnersOwn> = exchange;
  try {
    const { offer, close } = await open(exchange);
    const own: ThreadsOwn = {
      '.ping': () => undefined,
      '.close': () => {
        void (async () => {
          await close?.();
          await Promise.all(running);
        })().finally(() => port.close());
      },
    };
    resolve({ ...offer, ...own });
    owner.notify('.started');
  } catch (thrown) {
    owner.notify('.failed', errorToJson(asPortcullisError(thrown, blame('start'))));
  }
}
