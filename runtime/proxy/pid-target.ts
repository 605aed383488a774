import { PortcullisError } from '../../base/errors/index.ts';
import { criCodec } from '../cri/contract/services.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type {
  ContainerConfig,
  ListContainersRequest,
  ListContainersResponse,
} from '../cri/contract/contract.types.ts';
import type { Records } from '../state/records.ts';
import { decoded } from './calls.ts';
import type { InterceptedCall } from './calls.ts';
import type { ProxyContainer } from './records.ts';

/**
 * Checks that a container joins only the PID namespace of a container of its own pod. Not every backend
 * checks this: CRI-O accepts any container of the node, also a container with the PID namespace of the host.
 * @throws PortcullisError RUNTIME_BAD_TARGET; the errors of the backend
 */
export async function checkPidTarget(
  containers: Pick<Records<ProxyContainer>, 'get'>,
  call: Pick<InterceptedCall, 'ask'>,
  config: ContainerConfig,
  sandboxId: string,
): Promise<void> {
  const options = config.linux?.securityContext?.namespaceOptions;
  if (options?.pid !== NamespaceMode.TARGET) return;
  const { targetId } = options;
  const known = containers.get(targetId);
  if (known !== undefined ? known.sandboxId === sandboxId : await isInPod(call, targetId, sandboxId)) return;
  throw new PortcullisError({
    code: 'RUNTIME_BAD_TARGET',
    kind: 'invalid',
    attempted: 'join the PID namespace of container',
    on: JSON.stringify(targetId.slice(0, 80)),
    // A container of another pod gives the same error as a missing one.
    why: 'the pod does not have this container',
    fix: 'set namespace_options.target_id to the complete id of a container of the same pod',
  });
}

/** Asks the backend: a container from before the proxy has no record. */
async function isInPod(
  call: Pick<InterceptedCall, 'ask'>,
  id: string,
  podSandboxId: string,
): Promise<boolean> {
  const request = criCodec<ListContainersRequest>('ListContainersRequest');
  const answer = await call.ask(
    'RuntimeService/ListContainers',
    request.encode({ filter: { id, podSandboxId } }),
  );
  const { containers } = decoded(criCodec<ListContainersResponse>('ListContainersResponse'), answer);
  return containers.some((one) => one.id === id && one.podSandboxId === podSandboxId);
}
