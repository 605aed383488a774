import type { Exclusion } from './report.ts';

/** Specs that are expected to fail, with the reasons. A run reports those that pass. */
export const exclusions: readonly Exclusion[] = [
  {
    specs: /PrivilegedPod .* should enable privileged commands/,
    reason: 'needs links of type dummy, which the kernel of this machine lacks',
    on: ['portcullis', 'containerd'],
  },
];
