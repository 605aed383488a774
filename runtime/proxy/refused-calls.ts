import { PortcullisError } from '../../base/errors/index.ts';
import type { Interceptors } from './calls.ts';

/**
 * The calls that create containers without naming an image that could be verified: what an archive of a
 * checkpoint contains would run without a verdict.
 */
export const refusedCalls: Interceptors['calls'] = {
  'RuntimeService/RestorePod': () =>
    Promise.reject(
      new PortcullisError({
        code: 'PROXY_NO_VERDICT',
        kind: 'denied',
        attempted: 'restore pod',
        on: '',
        why: 'a checkpoint contains processes and files without a verdict',
        fix: 'create the pod again from its images',
      }),
    ),
};
