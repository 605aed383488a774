import type { ContainerService } from '../containers/container-service.ts';
import { CgroupDriver } from '../cri/contract/contract.types.ts';
import { selectContainers, selectPodSandboxes } from '../cri/filters.ts';
import type { RuntimeServiceHandlers } from '../cri/handlers.ts';
import type { SandboxService } from '../pods/sandbox-service.ts';
import { containerInfo, containerItem, containerStatus } from './container-messages.ts';
import {
  refuseForeignContainerFields,
  refuseForeignPodFields,
  refuseForeignUpdateFields,
} from './foreign-fields.ts';
import type { RuntimeReport } from './report.ts';
import { sandboxInfo, sandboxItem, sandboxStatus } from './sandbox-messages.ts';
import type { VerboseInfo } from './verbose-status.ts';
import { badField } from '../cri/bad-field.ts';

/** The CRI version of this contract (a kubelet compares it with its own). */
const runtimeApiVersion = 'v1';

type Answered =
  | 'version'
  | 'status'
  | 'runtimeConfig'
  | 'runPodSandbox'
  | 'stopPodSandbox'
  | 'removePodSandbox'
  | 'podSandboxStatus'
  | 'listPodSandbox'
  | 'createContainer'
  | 'startContainer'
  | 'stopContainer'
  | 'removeContainer'
  | 'listContainers'
  | 'containerStatus'
  | 'updateContainerResources'
  | 'reopenContainerLog'
  | 'execSync';

/**
 * Creates the RuntimeService handlers of this version. The server refuses every other call by name.
 * Semantics: cri-api 0.37 RuntimeService.
 */
export function createRuntimeHandlers(parts: {
  readonly version: string;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
  readonly report: RuntimeReport;
  readonly verbose: VerboseInfo;
}): Pick<RuntimeServiceHandlers, Answered> {
  const { sandboxes, containers, report } = parts;
  return {
    version: () =>
      Promise.resolve({
        version: '0.1.0',
        runtimeName: 'portcullis',
        runtimeVersion: parts.version,
        runtimeApiVersion,
      }),
    status: ({ verbose }) => report.status(verbose),
    runtimeConfig: () =>
      Promise.resolve({
        linux: {
          cgroupDriver: parts.cgroupDriver === 'systemd' ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS,
        },
      }),
    runPodSandbox: async ({ config, runtimeHandler }) => {
      refuseForeignPodFields(config);
      return { podSandboxId: (await sandboxes.run(config, runtimeHandler)).id };
    },
    stopPodSandbox: async ({ podSandboxId }) => {
      await sandboxes.stop(given(podSandboxId, 'pod_sandbox_id'));
      return {};
    },
    removePodSandbox: async ({ podSandboxId }) => {
      await sandboxes.remove(given(podSandboxId, 'pod_sandbox_id'));
      return {};
    },
    podSandboxStatus: async ({ podSandboxId, verbose }) => {
      const record = sandboxes.require(podSandboxId);
      const mine = containers.list().filter(({ sandboxId }) => sandboxId === record.id);
      // Read at one moment, because a kubelet with evented PLEG takes the whole pod from this answer.
      const recorded = {
        status: sandboxStatus(record),
        containersStatuses: mine.map(containerStatus),
        timestamp: BigInt(Date.now()) * 1_000_000n,
      };
      const info = verbose
        ? { ...sandboxInfo(record), ...(await parts.verbose.sandbox(record.id, mine)) }
        : {};
      return { ...recorded, info };
    },
    listPodSandbox: ({ filter }) =>
      Promise.resolve({ items: selectPodSandboxes(sandboxes.list().map(sandboxItem), filter) }),
    createContainer: async ({ podSandboxId, config }) => {
      refuseForeignContainerFields(config);
      return { containerId: (await containers.create(podSandboxId, config)).id };
    },
    startContainer: async ({ containerId }) => {
      await containers.start(containerId);
      return {};
    },
    stopContainer: async ({ containerId, timeout }, { signal }) => {
      await containers.stop(given(containerId, 'container_id'), timeout, signal);
      return {};
    },
    removeContainer: async ({ containerId }) => {
      await containers.remove(given(containerId, 'container_id'));
      return {};
    },
    listContainers: ({ filter }) =>
      Promise.resolve({ containers: selectContainers(containers.list().map(containerItem), filter) }),
    containerStatus: async ({ containerId, verbose }) => {
      const record = containers.require(containerId);
      const info = verbose
        ? {
            ...containerInfo(record, await parts.verbose.runtimeSpec(record.id)),
            ...(await parts.verbose.container(record)),
          }
        : {};
      return { status: containerStatus(record), info };
    },
    updateContainerResources: async (request) => {
      refuseForeignUpdateFields(request);
      await containers.update(request.containerId, request.linux);
      return {};
    },
    reopenContainerLog: async ({ containerId }) => {
      await containers.reopenLog(containerId);
      return {};
    },
    execSync: async ({ containerId, cmd, timeout }, { signal }) => {
      if (cmd.length === 0) throw badField('cmd', 'it is empty');
      return containers.exec(containerId, cmd, timeout, signal);
    },
  };
}

/** Requires an id: an empty id matches nothing, and a success would hide the caller's mistake. */
function given(value: string, field: string): string {
  if (value === '') throw badField(field, 'it is empty');
  return value;
}
