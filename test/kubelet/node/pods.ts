import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { nodeName } from './node.ts';
import { patience } from '../../fixtures/kubelet/patience.ts';
import type { KubeletServer } from '../../fixtures/kubelet/server.ts';

/** The fields of a pod's status that checks read (kubernetes.io/docs/reference/kubernetes-api, v1.Pod). */
export interface ContainerStatus {
  readonly name: string;
  readonly state: State;
  readonly lastState: State;
  readonly ready: boolean;
  readonly started?: boolean;
  readonly restartCount: number;
  readonly imageID: string;
  readonly containerID?: string;
}
interface State {
  readonly waiting?: { readonly reason?: string; readonly message?: string };
  readonly running?: { readonly startedAt: string };
  readonly terminated?: {
    readonly exitCode: number;
    readonly signal?: number;
    readonly reason?: string;
    readonly message?: string;
  };
}
export interface PodStatus {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly status: {
    readonly phase: string;
    readonly reason?: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly ContainerStatus[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
  };
}

/** The fields of a container's spec (v1.Container) that checks set. */
export type Container = Readonly<Record<string, unknown>> & { readonly name: string };

/** A static pod's manifest. */
export interface Manifest {
  readonly name: string;
  readonly namespace?: string;
  /** Without a uid the kubelet uses a digest of the manifest, so that an edited manifest is another pod. */
  readonly uid?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec: Readonly<Record<string, unknown>>;
}

export { nodeName };
export const defaultNamespace = 'shop';

/** Static pods in the folder that the kubelet watches, and their states as the kubelet reports them. */
export interface StaticPods {
  apply(manifest: Manifest): void;
  remove(name: string): void;
  names(): readonly string[];
  /** Returns undefined if the kubelet does not know the pod yet, or no longer. */
  status(name: string): Promise<PodStatus | undefined>;
  /** Waits until `is` is true and returns that status. The error shows the last status. */
  until(name: string, what: string, is: (pod: PodStatus) => boolean, patienceMs?: number): Promise<PodStatus>;
  untilGone(patienceMs?: number): Promise<void>;
}

export function staticPods(folder: string, staging: string, server: KubeletServer): StaticPods {
  const applied = new Set<string>();
  const list = async (): Promise<readonly PodStatus[]> =>
    ((await server.json('/pods')) as { items: PodStatus[] | null }).items ?? [];
  const status: StaticPods['status'] = async (name) =>
    (await list()).find((pod) => pod.metadata.name === `${name}-${nodeName}`);
  return {
    apply: (manifest) => {
      const { name, namespace = defaultNamespace, uid, annotations, spec } = manifest;
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name,
          namespace,
          ...(uid !== undefined && { uid }),
          ...(annotations !== undefined && { annotations }),
        },
        spec: { terminationGracePeriodSeconds: 2, ...spec },
      };
      // Written atomically, because the kubelet watches the folder.
      const staged = join(staging, `${name}.json`);
      writeFileSync(staged, JSON.stringify(pod, null, 2));
      renameSync(staged, join(folder, `${name}.json`));
      applied.add(name);
    },
    remove: (name) => {
      rmSync(join(folder, `${name}.json`), { force: true });
      applied.delete(name);
    },
    names: () => [...applied],
    status,
    until: async (name, what, is, patienceMs = patience(90_000)) => {
      const end = performance.now() + patienceMs;
      for (;;) {
        const pod = await status(name);
        if (pod !== undefined && is(pod)) return pod;
        if (performance.now() > end)
          throw new Error(`${name} is not ${what} within ${patienceMs / 1000} s: ${shown(pod)}`);
        await pause(250);
      }
    },
    untilGone: async (patienceMs = patience(90_000)) => {
      const end = performance.now() + patienceMs;
      for (let left = await list(); left.length > 0; left = await list()) {
        if (performance.now() > end)
          throw new Error(`the kubelet still has ${left.map((pod) => pod.metadata.name).join(', ')}`);
        await pause(250);
      }
    },
  };
}

export function container(pod: PodStatus, name = 'main'): ContainerStatus {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status;
  const found = [...containerStatuses, ...initContainerStatuses].find((one) => one.name === name);
  if (found === undefined)
    throw new Error(`pod ${pod.metadata.name} has no status of container ${name}: ${shown(pod)}`);
  return found;
}

/** Returns whether the pod is running and every container is ready. */
export function isReady(pod: PodStatus): boolean {
  const all = pod.status.containerStatuses ?? [];
  return pod.status.phase === 'Running' && all.length > 0 && all.every((one) => one.ready);
}

/** Returns the state of a container by name. An unknown container has no state. */
export function stateOf(
  pod: PodStatus,
  name = 'main',
): State & { readonly last: State; readonly restarts: number } {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status;
  const found = [...containerStatuses, ...initContainerStatuses].find((one) => one.name === name);
  return { ...found?.state, last: found?.lastState ?? {}, restarts: found?.restartCount ?? 0 };
}

function shown(pod: PodStatus | undefined): string {
  return pod === undefined ? 'the kubelet does not know it' : JSON.stringify(pod.status);
}
