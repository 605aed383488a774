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
  {
    specs: /Pod InPlace Resize .*guaranteed qos - 1 container with resize policy .*restart/,
    reason: 'expects an oom_score_adj of -997, which only a process with CAP_SYS_RESOURCE can set',
    on: ['portcullis', 'containerd'],
  },
  {
    specs: /intra-pod communication: sctp/,
    reason: 'needs SCTP, which the kernel of this machine lacks',
    on: ['portcullis', 'containerd'],
  },
  {
    specs: /ImageID .* should be set to the manifest digest/,
    reason: 'names an image of registry.k8s.io by its digest, and the run builds its own images',
    on: ['portcullis', 'containerd'],
  },
  {
    specs: /ImageCredentialProvider .* should be able to create pod/,
    reason: 'needs a registry of Google Cloud with its credential provider',
    on: ['portcullis', 'containerd'],
  },
  {
    specs: /Checkpoint Container .* will checkpoint a container out of a pod/,
    reason: 'criu fails on the kernel of this machine; the spec skips a daemon that writes no checkpoints',
    on: ['containerd'],
  },
];
