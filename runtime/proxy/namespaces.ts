import { PortcullisError } from '../../base/errors/index.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type { ContainerConfig, NamespaceOption, PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { checkContainerUserNamespace } from '../pods/user-namespace-options.ts';

const modes = { network: NamespaceMode.POD, pid: NamespaceMode.POD, ipc: NamespaceMode.POD, targetId: '' };
/** The user namespace that containerd gives a container without options, whatever its pod has. */
const usersOfHost: NamespaceOption = {
  ...modes,
  usernsOptions: { mode: NamespaceMode.NODE, uids: [], gids: [] },
};

/**
 * Checks that a container shares no namespace of the host that its pod does not share. containerd takes the
 * user namespace of a container, and the network whose devices /sys shows, from the request alone. Pure.
 * @param pod as it was created
 * @param described the pod as the request for the container describes it
 * @throws PortcullisError RUNTIME_BAD_NAMESPACE, RUNTIME_BAD_USER_NAMESPACE
 */
export function checkNamespaces(
  config: ContainerConfig,
  pod: PodSandboxConfig,
  described: PodSandboxConfig | undefined,
): void {
  const name = config.metadata?.name ?? '';
  const asked = config.linux?.securityContext?.namespaceOptions;
  const theirs = pod.linux?.securityContext?.namespaceOptions;
  const describedNetwork = described?.linux?.securityContext?.namespaceOptions?.network;
  for (const [key, mode] of [
    ['network', asked?.network],
    ['network', describedNetwork],
    ['ipc', asked?.ipc],
  ] as const) {
    if (mode !== NamespaceMode.NODE || theirs?.[key] === NamespaceMode.NODE) continue;
    throw new PortcullisError({
      code: 'RUNTIME_BAD_NAMESPACE',
      kind: 'invalid',
      attempted: 'create container',
      on: name,
      why: `it requests the host's ${key} namespace, but its pod does not`,
      fix: `set namespace_options.${key}: NODE for the pod as well`,
    });
  }
  checkContainerUserNamespace(name, theirs, asked?.usernsOptions === undefined ? usersOfHost : asked);
}
