import { reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { createSerialQueue } from '../base/queues/index.ts';
import { changedOptions } from './config/changed-options.ts';
import type { DaemonConfig } from './config/types.ts';
import type { Pins } from './images/index.ts';

/** Dependencies of the reload of the configuration. */
export interface ConfigReloadDeps {
  /** The configuration that the daemon was started with. */
  readonly config: DaemonConfig;
  readonly pins: Pick<Pins, 'replace'>;
  /** Reads the configuration again; absent: it does not change. */
  readonly reloadConfig: (() => Promise<DaemonConfig>) | undefined;
  readonly log: Pick<Logger, 'error' | 'info' | 'warn'>;
}

/**
 * Returns the function that takes the pinned images from the configuration as it is now. It keeps them as
 * they are if the configuration cannot be read or is invalid; the log says why. Other options apply at the
 * next start: the log names those that changed. Never fails. Calls at the same time are handled in order: the
 * last one reads last.
 */
export function createConfigReload({
  config,
  pins,
  reloadConfig,
  log,
}: ConfigReloadDeps): () => Promise<void> {
  const inTurn = createSerialQueue();
  return () =>
    inTurn(async () => {
      if (reloadConfig === undefined) return;
      try {
        const read = await reloadConfig();
        const { pinned } = read.images;
        pins.replace(pinned);
        log.info({ patterns: pinned.length }, 'pinned images were read again from the configuration');
        const options = changedOptions(config, read, ['images.pinned']);
        if (options.length > 0)
          log.warn({ options }, 'these options have changed, and apply when the daemon is restarted');
      } catch (thrown) {
        log.error(
          { error: reasonOf(thrown) },
          'the configuration could not be read again: pinned images do not change',
        );
      }
    });
}
