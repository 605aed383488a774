import type { Stage } from '../../fixtures/stage.ts';
import type { Kubelet } from '../node/node.ts';
import type { Manifest, StaticPods } from '../node/pods.ts';

/** The environment of a check. */
export interface Node {
  readonly stage: Stage;
  readonly kubelet: Kubelet;
  readonly pods: StaticPods;
  /** Signed images that exist only at the registry: `good.test/app/…:1`. */
  readonly images: Images;
  /** A private folder for host paths. */
  readonly folder: string;
  readonly cgroups: CgroupsOfNode;
  readonly features: Features;
}

export interface Images {
  /** Busybox. Runs `sleep 600`. */
  readonly app: string;
  /** A signed image that is not used for long, for the garbage collector. */
  readonly spare: string;
  /** An unsigned image. */
  readonly unsigned: string;
  /** Contains `/folder/page`, for image volumes. */
  readonly data: string;
  /** A signed image whose rule has the ceiling `baseline`. */
  readonly narrow: string;
  /** A node agent of the shipped example policy: only for kube-system. */
  readonly agent: string;
  /** A control plane component of that policy: host network namespace and host paths, not privileged. */
  readonly etcd: string;
}

/** The cgroup driver, and whether the kubelet creates cgroups for QoS classes. */
export interface CgroupsOfNode {
  readonly perQos: boolean;
  readonly driver: string;
}

/** The features that the daemon reports for its default handler (Status, runtime_handlers). */
export interface Features {
  readonly userNamespaces: boolean;
}

/** One expectation about a kubelet on our socket: pods, and their expected outcome. */
export interface Check {
  readonly name: string;
  /** Applied before the checks run. The pods of all checks are applied at once. */
  readonly pods?: (node: Pick<Node, 'images' | 'folder'>) => readonly Manifest[];
  /** Runs alone, because it restarts a daemon or fills the disk. */
  readonly alone?: boolean;
  /** Why this check cannot run here, or undefined if it can. */
  readonly skip?: (node: Node) => string | undefined;
  readonly run: (node: Node) => Promise<void>;
}

/** Returns a pod with one container `main` of the signed image. */
export function simplePod(
  name: string,
  image: string,
  more: Readonly<Record<string, unknown>> = {},
  spec: Readonly<Record<string, unknown>> = {},
): Manifest {
  return { name, spec: { containers: [{ name: 'main', image, ...more }], ...spec } };
}

/** Returns a shell command line as a command. */
export function shell(script: string): { readonly command: readonly string[] } {
  return { command: ['sh', '-c', script] };
}
