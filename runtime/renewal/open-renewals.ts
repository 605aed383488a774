import type { Logger } from '../../base/log/index.ts';
import type { ImageStore } from '../images/types.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import type { Redecision } from '../redecision/redecision.ts';
import { createRenewal } from './renewal.ts';
import type { Renewal } from './renewal.ts';
import { openRootUpdates } from './root-updates.ts';
import type { RootUpdates } from './root-updates.ts';

/** The renewals that the daemon runs. */
export interface Renewals extends Pick<Renewal, 'request' | 'tryNow' | 'close'> {
  /** Returns the evidence and roots that could not be renewed, for `doctor` and `crictl info`. */
  trouble(): {
    readonly endedEvidence: ReturnType<Renewal['ended']>;
    readonly failingRoots: ReturnType<RootUpdates['failing']>;
  };
  counts(): {
    readonly evidence: ReturnType<Renewal['counts']>;
    readonly roots: ReturnType<RootUpdates['counts']>;
  };
}

/**
 * Starts with the evidence of recorded images. If newer evidence may change a verdict, running containers are
 * decided again.
 */
export function openRenewals(parts: {
  readonly policy: Pick<PolicyHolder, 'current' | 'onChange' | 'tufRoots'>;
  readonly images: Pick<ImageStore, 'evidence' | 'renew' | 'services'>;
  readonly redecision: Pick<Redecision, 'request' | 'counts' | 'images'>;
  readonly log: Logger;
}): Renewals {
  const { policy, images, redecision } = parts;
  const log = parts.log.child({ component: 'renewal' });
  const renewal = createRenewal({
    policy,
    images,
    onRenewed: (verdicts) => {
      const isOut = redecision.images() > 0 || redecision.counts().length > 0;
      if (isOut || verdicts.some(({ outcome }) => outcome !== 'admit')) redecision.request();
    },
    log,
  });
  const roots = openRootUpdates({ policy, log });
  renewal.request();
  return {
    request: renewal.request,
    tryNow: renewal.tryNow,
    counts: () => ({ evidence: renewal.counts(), roots: roots.counts() }),
    trouble: () => ({ endedEvidence: renewal.ended(), failingRoots: roots.failing() }),
    close: async () => void (await Promise.all([renewal.close(), roots.close()])),
  };
}
