import type { Logger } from '../../../base/log/index.ts';
import type { DamagedAttachment } from '../../database/damaged-attachments.ts';
import type { NetworkStore } from '../../database/store.ts';
import type { HostKernel } from '../../links/host-kernel.ts';

/** Ends attachments whose records were damaged. */
export interface DamagedRecords {
  /** The kernel forgets the pods before their addresses may be assigned to others. */
  discard(isDiscarded: (damaged: DamagedAttachment) => boolean): void;
  /** Discards the attachments that nobody detaches any more, and logs the others. */
  discardUnreported(): void;
}

export interface DamagedRecordsDeps {
  readonly store: Pick<NetworkStore, 'damaged' | 'remove'>;
  readonly kernel: Pick<HostKernel, 'deleteLink' | 'forgetAddresses'>;
  readonly log: Pick<Logger, 'warn'>;
}

export function createDamagedRecords({ store, kernel, log }: DamagedRecordsDeps): DamagedRecords {
  const discard: DamagedRecords['discard'] = (isDiscarded) => {
    for (const damaged of store.damaged().filter(isDiscarded)) {
      kernel.deleteLink(damaged.hostInterface);
      kernel.forgetAddresses(damaged.addresses);
      store.remove(damaged.id);
    }
  };
  return {
    discard,
    discardUnreported() {
      discard(({ state }) => state !== 'ready');
      for (const { id, addresses } of store.damaged())
        log.warn(
          { id, addresses },
          'the network record of a pod is damaged: the pod has no network, and keeps its addresses until it is stopped',
        );
    },
  };
}
