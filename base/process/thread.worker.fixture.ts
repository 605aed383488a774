import { setTimeout as sleep } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';
import { PortcullisError } from '../errors/index.ts';
import { serveThread } from './index.ts';

/** A thread for tests: the functions it offers, and how its opening proceeds. */
export type Calls = {
  readonly double: (value: number) => number;
  readonly slow: (ms: number) => Promise<string>;
  /** Blocks the thread and its event loop. */
  readonly block: (ms: number) => string;
  readonly fail: (how: 'ours' | 'other' | 'uncopied') => unknown;
  /** Asks the owner, and returns its answer. */
  readonly through: (name: string) => Promise<string>;
  readonly die: () => void;
  /** Answers with its own failure, and then the thread ends because of it. */
  readonly failAndDie: () => Promise<never>;
};
export type Owner = {
  readonly greet: (name: string) => string;
  readonly log: (message: string) => void;
};
export interface Settings {
  readonly opening?: 'fails' | 'throws' | 'never' | 'asks';
}

const { opening } = workerData as Settings;
if (opening === 'throws') throw new Error('its module does not load');
const blame = { code: 'TEST_THREAD', kind: 'internal', on: '', fix: 'look' } as const;
const held = setInterval(() => undefined, 60_000);

await serveThread<Owner>(
  (call) => ({ ...blame, attempted: `call ${call}` }),
  async (owner) => {
    if (opening === 'fails')
      throw new PortcullisError({ ...blame, code: 'TEST_OPENING', attempted: 'open', why: 'it may not' });
    if (opening === 'never') await new Promise(() => undefined);
    if (opening === 'asks') owner.notify('log', await owner.call('greet', 'opening'));
    const offer: Calls = {
      double: (value) => value * 2,
      slow: (ms) => sleep(ms, 'late'),
      block(ms) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
        return 'blocked';
      },
      fail(how) {
        if (how === 'ours')
          throw new PortcullisError({
            ...blame,
            code: 'TEST_OURS',
            attempted: 'fail',
            why: 'it was asked to',
          });
        if (how === 'uncopied') return () => undefined;
        throw new RangeError('too far');
      },
      through: (name) => owner.call('greet', name),
      die() {
        setImmediate(() => {
          throw new Error('it was asked to die');
        });
      },
      async failAndDie() {
        offer.die();
        throw new PortcullisError({ ...blame, code: 'TEST_OURS', attempted: 'fail', why: 'it was asked to' });
      },
    };
    return { offer, close: () => clearInterval(held) };
  },
);
