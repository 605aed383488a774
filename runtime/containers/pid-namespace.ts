import { readlinkSync } from 'node:fs';
import { PortcullisError } from '../../base/errors/index.ts';
import { O_RDONLY, closeFd, openFile } from '../../base/kernel/index.ts';
import { sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type { ContainerConfig } from '../cri/contract/contract.types.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { planSandbox } from '../pods/validate.ts';
import type { ContainerRecord } from './record.ts';

/** The owner of the PID namespace that a container is in. */
export type PidMode = 'own' | 'pod' | 'host' | 'target';

/**
 * Returns the PID mode of a container from its namespace_options and its pod. Without the message, the
 * container has its own namespace. In a pod with the host's PID namespace, the pod's namespace is the host's.
 * Pure.
 * @throws PortcullisError RUNTIME_BAD_NAMESPACE when the container requests the host's namespace and the pod
 * does not, or the mode is unknown
 */
export function pidModeOf(config: ContainerConfig, sandbox: Pick<SandboxRecord, 'config'>): PidMode {
  const mode = config.linux?.securityContext?.namespaceOptions?.pid;
  if (mode === undefined || mode === NamespaceMode.CONTAINER) return 'own';
  const { hostPid } = planSandbox(sandbox.config);
  switch (mode) {
    case NamespaceMode.POD:
      return hostPid ? 'host' : 'pod';
    case NamespaceMode.NODE:
      if (hostPid) return 'host';
      throw bad(
        config,
        "it requests the host's PID namespace, and its pod does not",
        'also set namespace_options.pid: NODE for the pod',
      );
    case NamespaceMode.TARGET:
      return 'target';
    default:
      throw bad(config, `the mode ${String(mode)} is unknown`, 'use POD, CONTAINER, NODE or TARGET');
  }
}

/**
 * Whether the container's processes can outlive its first process: that process is then not the first of its
 * PID namespace, so the kernel does not end the others with it.
 */
export function sharesPids(config: ContainerConfig): boolean {
  const mode = config.linux?.securityContext?.namespaceOptions?.pid;
  return mode !== undefined && mode !== NamespaceMode.CONTAINER;
}

/** A PID namespace in which a container is created. */
export interface PidNamespace {
  /**
   * It is the namespace of this daemon: the container sees every process of the host, and the ceiling must
   * allow that.
   */
  readonly isHost: boolean;
  /** A path that leads only to this namespace while it is open; undefined: a new namespace, or the host's. */
  readonly path?: string;
  close(): void;
}

const none = (): void => undefined;

/**
 * Opens the namespace that a container joins. The path goes through a descriptor of this process and not
 * through the pid of another process: that pid may be reused before the runtime follows the path.
 * @throws PortcullisError RUNTIME_BAD_NAMESPACE | RUNTIME_BAD_TARGET | RUNTIME_UNSUPPORTED
 */
export function openPidNamespace(input: {
  readonly config: ContainerConfig;
  readonly sandbox: SandboxRecord;
  readonly handler: Pick<RuntimeHandler, 'kind' | 'name'>;
  readonly find: (id: string) => ContainerRecord | undefined;
}): PidNamespace {
  const { config, sandbox, handler } = input;
  const mode = pidModeOf(config, sandbox);
  if (mode === 'own') return { isHost: false, close: none };
  if (mode === 'host') return { isHost: true, close: none };
  if (handler.kind === 'other') {
    throw new PortcullisError({
      code: 'RUNTIME_UNSUPPORTED',
      kind: 'unimplemented',
      attempted: 'share a PID namespace with container',
      on: config.metadata?.name ?? '',
      why: `the runtime handler ${handler.name} cannot join namespaces`,
      fix: 'set namespace_options.pid: CONTAINER, or use a handler that runs crun or runc',
    });
  }
  if (mode === 'pod') {
    const holder = sandbox.infra?.process;
    if (holder === undefined)
      throw bad(config, 'its pod has no shared PID namespace', 'report this with the log of the daemon');
    return open(holder, () =>
      bad(config, 'the process that held the PID namespace of its pod has ended', 'run a new sandbox'),
    );
  }
  const id = config.linux?.securityContext?.namespaceOptions?.targetId ?? '';
  const target = id === '' ? undefined : input.find(id);
  const badTarget = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'RUNTIME_BAD_TARGET',
      kind: target === undefined ? 'invalid' : 'precondition',
      attempted: 'join the PID namespace of container',
      on: JSON.stringify(id.slice(0, 80)),
      why,
      fix: 'set namespace_options.target_id to a running container of the same pod',
    });
  // A container of another pod gives the same error as a missing one: a pod learns nothing about other pods.
  if (target?.sandboxId !== sandbox.id) throw badTarget('the pod has no such container');
  if (target.phase !== 'running' || target.init === undefined) throw badTarget(`it is ${target.phase}`);
  return open(target.init, () => badTarget('the container has just ended'));
}

function open(holder: ProcessIdentity, gone: () => PortcullisError): PidNamespace {
  let fd: number;
  try {
    fd = openFile(`/proc/${holder.pid}/ns/pid`, O_RDONLY);
  } catch (cause) {
    if (!sameProcess(holder)) throw gone();
    throw cause;
  }
  let isHost: boolean;
  try {
    // The process is the same after the descriptor was opened, so it was the same when the descriptor was
    // opened.
    if (!sameProcess(holder)) throw gone();
    isHost = readlinkSync(`/proc/self/fd/${fd}`) === readlinkSync('/proc/self/ns/pid');
  } catch (cause) {
    closeFd(fd);
    throw cause;
  }
  if (isHost) {
    closeFd(fd);
    return { isHost: true, close: none };
  }
  let isOpen = true;
  return {
    isHost: false,
    path: `/proc/${process.pid}/fd/${fd}`,
    close: () => {
      if (isOpen) closeFd(fd);
      isOpen = false;
    },
  };
}

function bad(config: ContainerConfig, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_NAMESPACE',
    kind: 'invalid',
    attempted: 'use namespace_options.pid of container',
    on: config.metadata?.name ?? '',
    why,
    fix,
  });
}
