import { isIP } from 'node:net';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Checkpoints } from '../checkpoints/checkpoints.ts';
import type { ContainerService } from '../containers/container-service.ts';
import type { RuntimeServiceHandlers } from '../cri/handlers.ts';
import type { PodResources } from '../pods/resources.ts';
import type { SandboxService } from '../pods/sandbox-service.ts';

type Answered =
  | 'updatePodSandboxResources'
  | 'updateRuntimeConfig'
  | 'checkpointContainer'
  | 'checkpointPod'
  | 'restorePod';

/** The configuration that the node's agent sent by UpdateRuntimeConfig, for `crictl info`. */
export interface ReportedConfig {
  /** CIDRs of the node's pods. Empty until the agent has sent them. */
  readonly podCidrs: () => readonly string[];
}

/**
 * Creates the handlers for pod resources, the runtime's configuration, and checkpoints (cri-api 0.37
 * RuntimeService). This version writes checkpoints of containers and restores none.
 */
export function createResourceHandlers(parts: {
  readonly resources: PodResources;
  readonly sandboxes: Pick<SandboxService, 'require'>;
  readonly containers: Pick<ContainerService, 'require'>;
  /** Absent: the configuration does not enable checkpoints. */
  readonly checkpoints: Pick<Checkpoints, 'write'> | undefined;
  /** Takes the pod range of the node; resolves when it is in use, or is known to be refused. */
  readonly reportPodCidrs: (podCidrs: readonly string[]) => Promise<void>;
  readonly log: Logger;
}): { readonly handlers: Pick<RuntimeServiceHandlers, Answered>; readonly config: ReportedConfig } {
  let podCidrs: readonly string[] = [];
  return {
    config: { podCidrs: () => podCidrs },
    handlers: {
      updatePodSandboxResources: async ({ podSandboxId, overhead, resources }) => {
        await parts.resources.update(podSandboxId, { overhead, resources });
        return {};
      },
      // Without `network.pods`, addresses come from the network configuration's own file, as in CRI-O. The
      // range is then only recorded and shown.
      updateRuntimeConfig: async ({ runtimeConfig }) => {
        const reported = cidrs(runtimeConfig?.networkConfig?.podCidr ?? '');
        if (reported.length > 0) {
          podCidrs = reported;
          parts.log.info({ podCidrs }, 'the pod range of the node was received');
          await parts.reportPodCidrs(reported);
        }
        return {};
      },
      checkpointContainer: async ({ containerId, location, timeout }, { signal }) => {
        const record = parts.containers.require(containerId);
        if (parts.checkpoints === undefined) throw disabled(containerId);
        await parts.checkpoints.write(record, location, timeout, signal);
        return {};
      },
      checkpointPod: ({ podSandboxId }) => {
        parts.sandboxes.require(podSandboxId);
        return Promise.reject(noCheckpoints('checkpoint pod', podSandboxId));
      },
      restorePod: ({ checkpointPath }) =>
        Promise.reject(noCheckpoints('restore pod', checkpointPath.slice(0, 300))),
    },
  };
}

/** One or two ranges, one of each family, separated by a comma (kubelet: podCIDR of a dual-stack node). */
function cidrs(text: string): string[] {
  const all = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  const bad = all.length > 16 ? `${all.length} ranges` : all.find((part) => !isCidr(part));
  if (bad === undefined) return all;
  throw new PortcullisError({
    code: 'RUNTIME_BAD_POD_CIDR',
    kind: 'invalid',
    attempted: 'update runtime configuration with pod_cidr',
    on: JSON.stringify(bad.slice(0, 300)),
    why: 'it is not a range of addresses',
    fix: 'write it as 10.1.0.0/24 or fd00:1::/64',
  });
}

function isCidr(text: string): boolean {
  const [address = '', length, ...rest] = text.split('/');
  const family = isIP(address);
  return (
    family !== 0 &&
    rest.length === 0 &&
    /^\d{1,3}$/.test(length ?? '') &&
    Number(length) <= (family === 4 ? 32 : 128)
  );
}

/**
 * Kubernetes' tests of a node skip the test of checkpoints after a message that begins in this way with the
 * code UNIMPLEMENTED (test/e2e_node/checkpoint_container.go). After any other error the test fails.
 */
const noSuchCall = 'unknown method CheckpointContainer';

function disabled(containerId: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CHECKPOINTS_DISABLED',
    kind: 'unimplemented',
    prefix: noSuchCall,
    attempted: 'write checkpoint of container',
    on: containerId.slice(0, 300),
    why: 'checkpoints are disabled: `checkpoint.enabled` is false in the configuration of the node',
    fix: 'set `checkpoint.enabled`, and protect the folder of the archives, because they contain the memory of containers',
  });
}

/**
 * criu takes what a restored process may do from the images of the archive, not from the specification
 * (docs/decisions/0118). The checkpoint of a pod would only be of use for its restore.
 */
function noCheckpoints(attempted: string, on: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_NO_CHECKPOINTS',
    kind: 'unimplemented',
    attempted,
    on,
    why: 'this version does not write or restore checkpoints of pods, because a restored process gets the rights that its archive names',
    fix: 'start the workload again from its image',
  });
}
