import { ContainerEventType } from '../../runtime/client.ts';
import type { Stage } from '../fixtures/stage.ts';

/**
 * Reads the events of containers for as long as the daemon serves; the counts of a container are dropped once
 * they are complete.
 */
export function watchEvents(stage: Stage): {
  /**
   * Returns a sentence for each container that was created and whose other events are missing, and for a
   * stream that ended.
   */
  missing(): readonly string[];
  /** Returns the number of containers of which all four events came. */
  complete(): number;
  stop(): void;
} {
  const open = new Map<string, Set<ContainerEventType>>();
  const abort = new AbortController();
  let ended: string | undefined;
  let complete = 0;
  const read = async (): Promise<void> => {
    for await (const { containerId, containerEventType } of stage.daemon.cri.runtime.getContainerEvents(
      {},
      { signal: abort.signal },
    )) {
      const seen = open.get(containerId) ?? new Set();
      open.set(containerId, seen.add(containerEventType));
      if (containerEventType === ContainerEventType.CONTAINER_DELETED_EVENT && seen.size === 4) {
        open.delete(containerId);
        complete += 1;
      }
    }
  };
  void read().then(
    () => (ended = 'the stream of events ended'),
    (thrown: unknown) => (ended = `the stream of events ended: ${String(thrown)}`),
  );
  return {
    missing: () => [
      ...(ended === undefined ? [] : [ended]),
      ...[...open].map(([id, seen]) => `container ${id} has events ${[...seen].join(', ')} only`),
    ],
    complete: () => complete,
    stop: () => abort.abort(),
  };
}
