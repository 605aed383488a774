import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DaemonConfig } from '../../../runtime/index.ts';
import type { Finding } from '../finding.ts';
import type { KubeletSettings } from './kubelet-settings.ts';

/** Settings of the daemon that a kubelet has to match. */
export interface Side {
  readonly config: Pick<DaemonConfig, 'socket' | 'kubeletRoot' | 'logs'>;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  /** Whether only cgroup version 2 is in use. */
  readonly unified: boolean;
  readonly swap: boolean;
  /** The root of the file system, `/`. */
  readonly root: string;
}

/**
 * Flags that kubelets lost with dockershim (1.24, 1.27) and with the pause image (1.35). A kubelet that has
 * one of them does not start.
 */
const gone =
  /^(container-runtime|network-plugin|network-plugin-mtu|cni-(conf-dir|bin-dir|cache-dir)|docker(-.*)?|experimental-dockershim.*|image-pull-progress-deadline|non-masquerade-cidr|pod-infra-container-image|redirect-container-streaming|rkt-.*)$/;
const defaultEndpoint = 'unix:///run/containerd/containerd.sock';

/**
 * Reports flags and files of the kubelet that keep it from using this daemon, or conflict with it
 * (docs/kubelet.md). Source: KubeletConfiguration v1beta1, kubelet 1.36.
 */
export function kubeletFindings(kubelet: KubeletSettings, side: Side): readonly Finding[] {
  const { flags, configuration } = kubelet;
  /** Returns a setting. Flags override files. */
  const setting = (name: string, flag: string): string | undefined => {
    const value = flags.get(flag) ?? configuration[name];
    return typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number'
      ? String(value)
      : undefined;
  };
  const findings: Finding[] = [];
  const note = (topic: string, found: string, meaning?: string, fix?: string): void =>
    void findings.push({
      topic,
      found,
      state: meaning === undefined ? 'fine' : 'degraded',
      ...(meaning !== undefined && { meaning: [meaning] }),
      ...(fix !== undefined && { fix }),
    });

  const unreadable = kubelet.problems.join('; ');
  note(
    'kubelet',
    kubelet.source,
    ...(unreadable === '' ? [] : ([unreadable, 'correct the file that the kubelet reads'] as const)),
  );

  const wanted = `unix://${side.config.socket}`;
  const endpoint = setting('containerRuntimeEndpoint', 'container-runtime-endpoint');
  if (pathOf(endpoint) === side.config.socket) note('its runtime', endpoint ?? '');
  else
    note(
      'its runtime',
      endpoint ?? `${defaultEndpoint} (nothing is set)`,
      'this kubelet runs its pods with another runtime',
      `containerRuntimeEndpoint: ${wanted}`,
    );
  const images = setting('imageServiceEndpoint', 'image-service-endpoint');
  if (images !== undefined && images !== '' && pathOf(images) !== side.config.socket)
    note(
      'its images',
      images,
      'images are pulled by another service, and are missing when a container is created',
      'leave imageServiceEndpoint out',
    );

  note('cgroup driver', ...cgroupDriverOf(setting('cgroupDriver', 'cgroup-driver'), side.cgroupDriver));
  if (!side.unified && setting('failCgroupV1', 'fail-cgroupv1') !== 'false')
    note(
      'failCgroupV1',
      'not false',
      'this machine uses cgroup version 1, and kubelet 1.35 and newer refuse that',
      'failCgroupV1: false',
    );
  if (setting('cgroupsPerQOS', 'cgroups-per-qos') === 'false')
    note(
      'cgroupsPerQOS',
      'false',
      'kubelet 1.36 without cgroups for pods and QoS classes panics when a pod is resized in place',
      'leave cgroupsPerQOS out',
    );
  if (side.swap && setting('failSwapOn', 'fail-swap-on') !== 'false')
    note(
      'failSwapOn',
      'not false',
      'this machine has swap, and the kubelet does not start with it',
      'failSwapOn: false, or swapoff -a',
    );

  const folder = setting('staticPodPath', 'pod-manifest-path');
  if (folder !== undefined && folder !== '') {
    if (existsSync(join(side.root, folder))) note('static pods', folder);
    else
      note(
        'static pods',
        `${folder} does not exist`,
        'no static pod can be found',
        `mkdir -p ${folder}, or leave staticPodPath out`,
      );
  } else if (!flags.has('kubeconfig'))
    note(
      'static pods',
      'no staticPodPath',
      'this kubelet has no kubeconfig either, so it has no source of pods',
      'staticPodPath: /etc/kubernetes/manifests',
    );

  const kubeletRoot = flags.get('root-dir') ?? '/var/lib/kubelet';
  if (trimmed(kubeletRoot) === trimmed(side.config.kubeletRoot)) note('its folder', kubeletRoot);
  else
    note(
      'its folder',
      `${kubeletRoot}, not ${side.config.kubeletRoot}`,
      'a pod’s own volumes count as host paths, which few ceilings allow',
      `kubeletRoot: ${kubeletRoot} in our configuration`,
    );
  if (side.config.logs.maxSize !== '0')
    note(
      'log rotation',
      `logs.maxSize: ${side.config.logs.maxSize}`,
      'the kubelet rotates the same files, and both remove some',
      'logs.maxSize: 0',
    );
  const lost = [...flags.keys()].filter((name) => gone.test(name)).map((name) => `--${name}`);
  if (lost.length > 0)
    note(
      'flags',
      lost.join(', '),
      'kubelet 1.36 no longer supports them, and does not start',
      'take them out',
    );
  return findings;
}

/**
 * Returns `[found, meaning?, fix?]`. A kubelet since 1.34 asks the runtime (RuntimeConfig) and ignores its
 * own setting.
 */
function cgroupDriverOf(theirs: string | undefined, ours: string): [string, string?, string?] {
  if (theirs === undefined) return [`${ours}: the kubelet asks (before 1.34 its own default is cgroupfs)`];
  if (theirs === ours) return [ours];
  return [
    `kubelet ${theirs}, here ${ours}`,
    'a kubelet before 1.34 uses its own setting, and no pod starts; a newer kubelet asks the runtime and uses ours',
    `cgroupDriver: ${ours} in the kubelet’s configuration, or cgroupDriver: ${theirs} in ours`,
  ];
}

function pathOf(endpoint: string | undefined): string | undefined {
  return endpoint?.replace(/^unix:(\/\/)?/, '');
}

function trimmed(folder: string): string {
  return folder.replace(/\/+$/, '');
}
