import { reasonOf } from '../../base/errors/index.ts';
import { ContainerEventType } from '../../runtime/client.ts';
import { watchContainerEvents } from '../fixtures/container-events.ts';
import type { Stage } from '../fixtures/stage.ts';

/**
 * Reads the events of containers for as long as the daemon serves; the counts of a container are dropped once
 * they are complete.
 */
export async function watchEvents(stage: Stage): Promise<{
  /**
   * Returns a sentence for each container that was created and whose other events are missing, and for a
   * stream that ended.
   */
  missing(): readonly string[];
  /** Returns the number of containers of which all four events came. */
  complete(): number;
  stop(): Promise<void>;
}> {
  const open = new Map<string, Set<ContainerEventType>>();
  let ended: string | undefined;
  let complete = 0;
  const watched = await watchContainerEvents(stage.daemon.cri, ({ containerId, containerEventType }) => {
    const seen = open.get(containerId) ?? new Set();
    open.set(containerId, seen.add(containerEventType));
    if (containerEventType === ContainerEventType.CONTAINER_DELETED_EVENT && seen.size === 4) {
      open.delete(containerId);
      complete += 1;
    }
  });
  void watched.ended.then((thrown) => {
    ended = `the stream of events ended${thrown === undefined ? '' : `: ${reasonOf(thrown)}`}`;
  });
  return {
    missing: () => [
      ...(ended === undefined ? [] : [ended]),
      ...[...open].map(([id, seen]) => `container ${id} has events ${[...seen].join(', ')} only`),
    ],
    complete: () => complete,
    stop: watched.stop,
  };
}
