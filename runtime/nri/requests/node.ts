import type { Logger } from '../../../base/log/index.ts';
import type { Adjustment } from '../../containers/adjusted.ts';
import type { ContainerService } from '../../containers/container-service.ts';
import type { ContainerRecord } from '../../containers/record.ts';
import type { ImageConfig } from '../../images/types.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { WatchedRecords } from '../../state/records.ts';
import type { PluginSet } from '../plugins/plugin-set.ts';

/** The parts of a node that plugins work with. */
export interface NriNode {
  readonly plugins: PluginSet;
  readonly containerRecords: WatchedRecords<ContainerRecord>;
  readonly sandboxRecords: WatchedRecords<SandboxRecord>;
  /** The service itself, which calls no plugin. */
  readonly containers: () => Pick<ContainerService, 'updateAdjusted'>;
  readonly imageConfig: (imageId: string) => ImageConfig | undefined;
  /** Programs of the host that may be hooks. */
  readonly allowedHooks: readonly string[];
  /** Writes what plugins changed for a container to the verdict log. */
  readonly logged: (container: string, verdict: string, adjustments: readonly Adjustment[]) => Promise<void>;
  /** Called with each adjustment that was refused, and each that was accepted. */
  readonly adjusted: (outcome: 'applied' | 'refused') => void;
  readonly log: Logger;
}
