import type {
  NodeState,
  PolicyFile,
  WantedContainer,
  WantedImage,
  WantedNetwork,
  WantedPod,
  WantedService,
} from '../model/types.ts';

type Optional<Value, Needed extends keyof Value> = Pick<Value, Needed> & Partial<Value>;
type WrittenMount = Optional<WantedContainer['mounts'][number], 'containerPath' | 'hostPath'>;

interface WrittenContainer extends Omit<Optional<WantedContainer, 'image' | 'name'>, 'mounts'> {
  readonly mounts?: readonly WrittenMount[];
}
interface WrittenPod extends Omit<Optional<WantedPod, 'containers' | 'name'>, 'containers'> {
  readonly containers: readonly WrittenContainer[];
}

/** The sections as a document has them, after its schema was checked. */
export interface WrittenState {
  readonly images?: readonly Optional<WantedImage, 'image'>[];
  readonly kernelModules?: readonly string[];
  readonly networks?: readonly Optional<WantedNetwork, 'name' | 'subnets'>[];
  readonly policies?: readonly { readonly name: string; readonly content?: string; readonly from?: string }[];
  readonly services?: readonly WantedService[];
  readonly staticPods?: readonly WrittenPod[];
  readonly sysctls?: Readonly<Record<string, number | string>>;
}

/**
 * Returns a state with all its defaults.
 * @param policies the policies with the content of their files
 */
export function stateWithDefaults(written: WrittenState, policies: readonly PolicyFile[]): NodeState {
  const {
    images = [],
    kernelModules = [],
    networks = [],
    services = [],
    staticPods = [],
    sysctls = {},
  } = written;
  return {
    images: images.map((image) => ({ namespace: 'default', ...image })),
    kernelModules,
    networks: networks.map((network) => ({
      type: 'bridge',
      gateways: [],
      masquerade: true,
      isolation: true,
      internal: false,
      podNamespaces: [],
      order: '50',
      ...network,
    })),
    policies,
    services,
    staticPods: staticPods.map(podWithDefaults),
    sysctls: Object.fromEntries(Object.entries(sysctls).map(([name, value]) => [name, String(value)])),
  };
}

const podWithDefaults = (pod: WrittenPod): WantedPod => ({
  namespace: 'default',
  hostNetwork: false,
  runtimeHandler: '',
  labels: {},
  annotations: {},
  ...pod,
  containers: pod.containers.map((container) => ({
    command: [],
    args: [],
    workingDir: '',
    env: {},
    privileged: false,
    ...container,
    mounts: (container.mounts ?? []).map((mount) => ({ readOnly: false, ...mount })),
  })),
});
