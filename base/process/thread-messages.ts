import type { SerialisedError } from '../errors/index.ts';

/** What a thread and its owner say to each other beside the calls of their domain. */

/** A type, not an interface: it is an {@link Offer}. */
export type OwnersOwn = {
  readonly '.started': () => void;
  readonly '.failed': (error: SerialisedError) => void;
};

export type ThreadsOwn = {
  readonly '.ping': () => void;
  readonly '.close': () => void;
};
