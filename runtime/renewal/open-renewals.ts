import type { Logger } from '../../base/log/index.ts';
import type { ImageStore } from '../images/types.ts';
import type { PolicyHolder } from '../policy-watch.ts';
import { createRenewal } from './renewal.ts';
import type { Renewal } from './renewal.ts';
import { openRootUpdates } from './root-updates.ts';
import type { RootUpdates } from './root-updates.ts';

/** What the daemon keeps from ending. */
export interface Renewals extends Pick<Renewal, 'request' | 'tryNow' | 'close'> {
  counts(): { readonly evidence: ReturnType<Renewal['counts']>; readonly roots: ReturnType<RootUpdates['counts']> };
}

/** Begins with what recorded images rest on. @param redecide called when newer evidence speaks against what was admitted */
export function openRenewals(parts: {
  readonly policy: Pick<PolicyHolder, 'current' | 'onChange' | 'tufRoots'>;
  readonly images: Pick<ImageStore, 'evidence' | 'renew'>;
  readonly redecide: () => void;
  readonly log: Logger;
}): Renewals {
  const { policy, images, redecide } = parts;
  const log = parts.log.child({ room: 'renewal' });
  const renewal = createRenewal({
    policy,
    images,
    onRenewed: (verdicts) => {
      if (verdicts.some(({ outcome }) => outcome !== 'admit')) redecide();
    },
    log,
  });
  const roots = openRootUpdates({ policy, log });
  renewal.request();
  return {
    request: renewal.request,
    tryNow: renewal.tryNow,
    counts: () => ({ evidence: renewal.counts(), roots: roots.counts() }),
    close: async () => void (await Promise.all([renewal.close(), roots.close()])),
  };
}
