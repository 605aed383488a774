import { parentPort } from 'node:worker_threads';
import { asPortcullisError, errorToJson } from '../errors/index.ts';
import { createExchange } from './exchange.ts';
import type { Blame, Caller, ExchangeMessage, Offer } from './exchange.ts';
import type { OwnersOwn, ThreadsOwn } from './thread-messages.ts';

/** What a thread does for its owner. */
export interface Service {
  readonly offer: Offer;
  /** Lets go what keeps the thread alive; calls under way have their answers after it, and then the port is closed. */
  readonly close?: () => Promise<void> | void;
}

/**
 * The Worker's side of `connectThread`: answers calls until the owner closes it. Calls wait until it is open.
 * @param blame what is said of a call, or of the opening, that throws something else than a PortcullisError
 * @param open may call the owner already; what it throws is the failure of the thread's start
 */
export async function serveThread<Owner extends Offer>(
  blame: (call: string) => Blame,
  open: (owner: Caller<Owner>) => Promise<Service> | Service,
): Promise<void> {
  const port = parentPort;
  if (port === null) throw new TypeError('this module runs in a Worker');
  const { promise: opened, resolve } = Promise.withResolvers<Offer>();
  const running = new Set<Promise<void>>();
  const exchange = createExchange<Owner & OwnersOwn>({ post: (message) => port.postMessage(message), offer: opened, blame });
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
    owner.tell('.started');
  } catch (thrown) {
    owner.tell('.failed', errorToJson(asPortcullisError(thrown, blame('start'))));
  }
}
