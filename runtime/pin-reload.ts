import { reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { createSerialQueue } from '../base/queues/index.ts';
import type { DaemonConfig } from './config/types.ts';
import type { Pins } from './images/index.ts';

/** Dependencies of the reload of pinned images. */
export interface PinReloadDeps {
  readonly pins: Pick<Pins, 'replace'>;
  /** Reads the configuration again; absent: it does not change. */
  readonly reloadConfig: (() => Promise<DaemonConfig>) | undefined;
  readonly log: Pick<Logger, 'error' | 'info'>;
}

/**
 * Returns the function that takes the pinned images from the configuration as it is now. It keeps them as
 * they are if the configuration cannot be read or is invalid; the log says why. Other settings apply at the
 * next start. Never fails. Calls at the same time are handled in order: the last one reads last.
 */
export function createPinReload({ pins, reloadConfig, log }: PinReloadDeps): () => Promise<void> {
  const inTurn = createSerialQueue();
  return () =>
    inTurn(async () => {
      if (reloadConfig === undefined) return;
      try {
        const { pinned } = (await reloadConfig()).images;
        pins.replace(pinned);
        log.info({ patterns: pinned.length }, 'pinned images were read again from the configuration');
      } catch (thrown) {
        log.error(
          { error: reasonOf(thrown) },
          'the configuration could not be read again: pinned images do not change',
        );
      }
    });
}
