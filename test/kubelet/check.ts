import type { Stage } from '../fixtures/stage.ts';
import type { Kubelet } from './node.ts';
import type { Manifest, StaticPods } from './pods.ts';

/** What a check works with. */
export interface Node {
  readonly stage: Stage;
  readonly kubelet: Kubelet;
  readonly pods: StaticPods;
  /** Signed images, present at the registry only: `good.test/app/…:1`. */
  readonly images: Images;
  /** A folder of its own for host paths. */
  readonly folder: string;
  readonly cgroups: CgroupsOfNode;
  readonly features: Features;
}

export interface Images {
  /** Busybox; runs `sleep 600`. */
  readonly app: string;
  /** Signed, and needed by nobody for long: the garbage collector's. */
  readonly spare: string;
  /** Nobody signed it. */
  readonly unsigned: string;
  /** Holds `/folder/page`, for image volumes. */
  readonly data: string;
  /** Signed; its rule has the ceiling `baseline`. */
  readonly narrow: string;
  /** A node agent by the shipped example policy: for kube-system alone. */
  readonly agent: string;
  /** A part of the control plane by that policy: the host's network and paths, no privilege. */
  readonly etcd: string;
}

/** Who makes the pods' cgroups, and whether the kubelet orders them by quality of service. */
export interface CgroupsOfNode {
  readonly perQos: boolean;
  readonly driver: string;
}

/** What the daemon says of its default handler (Status, runtime_handlers). */
export interface Features {
  readonly userNamespaces: boolean;
}

/** One promise about a kubelet on our socket: pods, and what must come of them. */
export interface Check {
  readonly name: string;
  /** Applied before anything is asked, all checks' pods at once. */
  readonly pods?: (node: Pick<Node, 'images' | 'folder'>) => readonly Manifest[];
  /** Alone: nothing else runs meanwhile (it restarts a daemon, or fills the disk). */
  readonly alone?: boolean;
  /** Why it can not be shown here; undefined: it can. */
  readonly skip?: (node: Node) => string | undefined;
  readonly run: (node: Node) => Promise<void>;
}

/** A pod of one container `main` of the signed image. */
export function simplePod(
  name: string,
  image: string,
  more: Readonly<Record<string, unknown>> = {},
  spec: Readonly<Record<string, unknown>> = {},
): Manifest {
  return { name, spec: { containers: [{ name: 'main', image, ...more }], ...spec } };
}

/** A shell's command. */
export function shell(script: string): { readonly command: readonly string[] } {
  return { command: ['sh', '-c', script] };
}
