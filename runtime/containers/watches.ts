import type { Logger } from '../../base/log/index.ts';
import type { ContainerEffects } from './container-effects.ts';
import type { ExitRecorder } from './exit-recorder.ts';
import type { ContainerRecord } from './record.ts';

/**
 * The watches of containers: at most one for each, which reports the end of its first process or of its
 * monitor.
 */
export interface ContainerWatches {
  /** Watches a container. An earlier watch of the same container ends. */
  begin(record: ContainerRecord): void;
  end(id: string): void;
  has(id: string): boolean;
  /** Returns the containers whose first process lives and whose monitor does not. */
  unmonitored(): readonly string[];
  /** Ends every watch; running containers continue. */
  close(): void;
}

/** Creates the watches. The recorder gets each exit; a monitor that ends too early is logged. */
export function createContainerWatches(deps: {
  readonly effects: Pick<ContainerEffects, 'watch'>;
  readonly exits: Pick<ExitRecorder, 'record'>;
  readonly log: Logger;
}): ContainerWatches {
  const { effects, exits, log } = deps;
  const watches = new Map<string, () => void>();
  /** Containers that run without their monitor. The next start of the daemon detects them again. */
  const unmonitored = new Set<string>();
  const end = (id: string): void => {
    watches.get(id)?.();
    watches.delete(id);
    unmonitored.delete(id);
  };
  return {
    begin: (record) => {
      watches.get(record.id)?.();
      const stop = effects.watch(
        record,
        (exit) => {
          watches.delete(record.id);
          unmonitored.delete(record.id);
          // A failure was logged, and is retried.
          exits.record(record.id, exit).catch(() => undefined);
        },
        () => {
          unmonitored.add(record.id);
          log.error(
            { container: record.id, monitor: record.monitor?.pid },
            'the monitor of a running container has ended: its output is lost from now on, and its exit code is known only if the kernel reports it',
          );
        },
      );
      watches.set(record.id, stop);
    },
    end,
    has: (id) => watches.has(id),
    unmonitored: () => [...unmonitored],
    close: () => {
      for (const id of [...watches.keys()]) end(id);
    },
  };
}
