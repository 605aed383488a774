import { reasonOf } from '../../base/errors/index.ts';
import type { AgentLog } from './agent-log.ts';
import type { Memory } from './memory.ts';
import type { Peers } from './ownership/peers.ts';
import type { ThisHost } from './this-host.ts';

/** Saves the subnets of this host, and the last known state of the other hosts. */
export interface SavedState {
  /** @param subnets of this host; default: those that it has @throws STORAGE_… */
  save(subnets?: readonly string[]): Promise<void>;
  /** Writes once for all changes of the next moment. A failure is logged. */
  saveSoon(): void;
  /** Drops the pending write. */
  close(): void;
}

export interface SavedStateDeps {
  readonly memory: Memory;
  readonly thisHost: Pick<ThisHost, 'own'>;
  readonly peers: Pick<Peers, 'all'>;
  readonly log: AgentLog;
}

const writeAfterMs = 500;

export function createSavedState({ memory, thisHost, peers, log }: SavedStateDeps): SavedState {
  let writing: NodeJS.Timeout | undefined;
  const save = (subnets = thisHost.own.subnets): Promise<void> =>
    memory.write({ ...memory.remembered, subnets, peers: peers.all() });
  return {
    save,
    saveSoon() {
      writing ??= setTimeout(() => {
        writing = undefined;
        void save().catch((thrown: unknown) => {
          log.warn(
            { why: reasonOf(thrown) },
            'the state of other hosts could not be saved; it is tried again with the next change',
          );
        });
      }, writeAfterMs);
    },
    close: () => clearTimeout(writing),
  };
}
