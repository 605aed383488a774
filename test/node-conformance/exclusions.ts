import type { RuntimeName } from './names.ts';
import type { Exclusion } from './report.ts';

/** Specs that are expected to fail on a runtime, with the reasons. A run reports those that pass. */
export const exclusionsOn = (runtime: RuntimeName): readonly Exclusion[] =>
  exclusions.filter(({ on }) => on.includes(runtime));

const exclusions: readonly (Exclusion & { readonly on: readonly RuntimeName[] })[] = [
  {
    specs: /PrivilegedPod .* should enable privileged commands/,
    reason: 'needs links of type dummy, which the kernel of this machine lacks',
    on: ['portcullis', 'containerd'],
  },
  {
    specs: /Summary API .* should report resource usage through the stats api/,
    reason:
      'needs the pressure (PSI) of each container, which only cgroup version 2 has, and cgroups of the kubelet and of the runtime, which the run does not create',
    on: ['portcullis', 'containerd'],
  },
];
