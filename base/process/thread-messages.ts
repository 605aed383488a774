import type { SerialisedError } from '../errors/index.ts';

/** The messages between a thread and its owner apart from the calls of their domain. */

/** This is a type, not an interface, because it must be an {@link Offer}. */
export type OwnersOwn = {
  readonly '.started': () => void;
  readonly '.failed': (error: SerialisedError) => void;
};

export type ThreadsOwn = {
  readonly '.ping': () => void;
  readonly '.close': () => void;
};
