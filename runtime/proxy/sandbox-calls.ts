import { isDeepStrictEqual } from 'node:util';
import { attempt, PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { criCodec } from '../cri/contract/services.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type {
  LinuxPodSandboxConfig,
  PodSandboxConfig,
  PodSandboxStatusRequest,
  PodSandboxStatusResponse,
  RemoveContainerRequest,
  RemovePodSandboxRequest,
  RunPodSandboxRequest,
  RunPodSandboxResponse,
} from '../cri/contract/contract.types.ts';
import { decoded } from './calls.ts';
import type { InterceptedCall, Interceptors } from './calls.ts';
import type { ProxyRecords, ProxySandbox } from './records.ts';
import type { FieldEdit } from './wire.ts';

/**
 * The calls that create and remove pods and remove containers. A pod has no image and therefore no ceiling:
 * its request is recorded, and checked with its first container and each later one.
 */
export function sandboxCalls(records: ProxyRecords, log: Logger): Interceptors['calls'] {
  /** The answer does not wait: a record of what is gone is removed at the next start. */
  const dropped = (removal: Promise<unknown>): void =>
    void removal.catch((thrown: unknown) =>
      log.warn({ why: reasonOf(thrown) }, 'a record could not be removed; the next start removes it'),
    );
  return {
    'RuntimeService/RunPodSandbox': async (call) => {
      const { config } = decoded(criCodec<RunPodSandboxRequest>('RunPodSandboxRequest'), call.request);
      const answer = await call.forward(call.request);
      const { podSandboxId } = decoded(
        criCodec<RunPodSandboxResponse>('RunPodSandboxResponse'),
        answer.message,
      );
      if (config !== undefined && podSandboxId !== '')
        await orUndone(
          records.sandboxes.put({ id: podSandboxId, name: podSandboxId, config }, [], 'process'),
          () => call.ask('RuntimeService/RemovePodSandbox', removals.encode({ podSandboxId })),
          log,
        );
      return answer;
    },
    'RuntimeService/RemovePodSandbox': async (call) => {
      const request = decoded(criCodec<RemovePodSandboxRequest>('RemovePodSandboxRequest'), call.request);
      // A backend may remove it although the client has gone.
      const answer = await call.lasting.forward(call.request);
      const id = records.sandboxes.find(request.podSandboxId)?.id;
      if (id !== undefined) dropped(forgetPod(records, id));
      return answer;
    },
    'RuntimeService/RemoveContainer': async (call) => {
      const request = decoded(criCodec<RemoveContainerRequest>('RemoveContainerRequest'), call.request);
      const answer = await call.lasting.forward(call.request);
      const id = records.containers.find(request.containerId)?.id;
      if (id !== undefined) dropped(records.containers.delete(id));
      return answer;
    },
  };
}

/** The pod goes first: a container that is recorded later finds that it is gone, and is forgotten as well. */
async function forgetPod({ sandboxes, containers, creations }: ProxyRecords, id: string): Promise<void> {
  await sandboxes.delete(id);
  const isOfPod = ({ sandboxId }: { readonly sandboxId: string }): boolean => sandboxId === id;
  await Promise.all([
    ...containers
      .list()
      .filter(isOfPod)
      .map((container) => containers.delete(container.id)),
    ...creations
      .list()
      .filter(isOfPod)
      .map((creation) => creations.delete(creation.id)),
  ]);
}

const removals = criCodec<RemovePodSandboxRequest>('RemovePodSandboxRequest');

/**
 * Waits until a pod or container of the backend is recorded. If that fails, removes it from the backend: the
 * client gets an error, and a container without a record would have no limits at updates.
 * @throws the error of the record
 */
export async function orUndone(
  recorded: Promise<void>,
  remove: () => Promise<unknown>,
  log: Logger,
): Promise<void> {
  try {
    await recorded;
  } catch (thrown) {
    await remove().catch((second: unknown) =>
      log.error({ why: reasonOf(second) }, 'what could not be recorded stays in the backend'),
    );
    throw thrown;
  }
}

/**
 * Returns the pod in which a container is created. For a pod from before the proxy, the request says what the
 * pod is, as far as the backend confirms it, or does not say otherwise.
 * @throws PortcullisError PROXY_UNKNOWN_POD; the errors of the backend
 */
export async function sandboxOf(
  { sandboxes }: Pick<ProxyRecords, 'sandboxes'>,
  call: Pick<InterceptedCall, 'ask'>,
  id: string,
  described: PodSandboxConfig | undefined,
): Promise<ProxySandbox> {
  const known = sandboxes.find(id);
  if (known !== undefined) return known;
  const answer = await call.ask(
    'RuntimeService/PodSandboxStatus',
    criCodec<PodSandboxStatusRequest>('PodSandboxStatusRequest').encode({ podSandboxId: id, verbose: true }),
  );
  const { status, info } = decoded(criCodec<PodSandboxStatusResponse>('PodSandboxStatusResponse'), answer);
  if (status === undefined) throw unknownPod(id, 'the backend does not describe it');
  // The beginning of an id may mean several pods here, and one for the backend.
  const recorded = sandboxes.get(status.id);
  if (recorded !== undefined) return recorded;
  if (described?.metadata === undefined) throw unknownPod(id, 'the request does not describe it');
  const { metadata } = status;
  for (const key of ['name', 'namespace', 'uid'] as const)
    if (described.metadata[key] !== metadata?.[key])
      throw unknownPod(
        id,
        `its ${key} is ${JSON.stringify(metadata?.[key])} for the backend and ${JSON.stringify(described.metadata[key])} in the request`,
      );
  const options = status.linux?.namespaces?.options;
  const asked = described.linux?.securityContext?.namespaceOptions;
  for (const key of ['network', 'pid', 'ipc'] as const)
    if ((options?.[key] === NamespaceMode.NODE) !== (asked?.[key] === NamespaceMode.NODE))
      throw unknownPod(id, `the backend and the request differ in the owner of its ${key} namespace`);
  const users = asked?.usernsOptions;
  if (users?.mode === NamespaceMode.POD && !isDeepStrictEqual(users, options?.usernsOptions))
    throw unknownPod(id, 'the backend and the request differ in the owner of its user namespace');
  const config = asCreated(described, info['info']);
  const sandbox = { id: status.id, name: status.id, config, isAsDescribed: true } as const;
  await sandboxes.put(sandbox, [], 'process');
  return sandbox;
}

/**
 * Returns the description of a pod with the cgroup and the folder of logs that the backend reports, whatever
 * the request says: containerd has the request for the pod in the verbose status, CRI-O does not.
 */
function asCreated(described: PodSandboxConfig, info: string | undefined): PodSandboxConfig {
  const created = recordOf(recordOf(jsonOf(info))['config']);
  const logDirectory = created['log_directory'];
  const cgroupParent = recordOf(created['linux'])['cgroup_parent'];
  return {
    ...described,
    ...(typeof logDirectory === 'string' && { logDirectory }),
    ...(typeof cgroupParent === 'string' && {
      linux: { ...(described.linux ?? emptyLinux.decode(Buffer.alloc(0))), cgroupParent },
    }),
  };
}

const emptyLinux = criCodec<LinuxPodSandboxConfig>('LinuxPodSandboxConfig');

function jsonOf(text: string | undefined): unknown {
  return attempt(() => parseJson(text ?? ''));
}

const recordOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};

/**
 * Returns the changes of a pod in the request for a container: its cgroup and its folder of logs are those
 * with which it was created. Backends take both from this request alone, so that a container could leave the
 * limits of its pod. Other fields stay, because a kubelet may change them, such as annotations. The first
 * request for a pod from before the proxy may have left them out: then they stay as well. A request that does
 * not describe the pod gets the description: containerd would put the container into the uppermost cgroup.
 */
export function podEdits(
  { config: pod, isAsDescribed }: Pick<ProxySandbox, 'config' | 'isAsDescribed'>,
  described: PodSandboxConfig | undefined,
): Record<string, FieldEdit> {
  if (described === undefined) return { sandboxConfig: { set: pod } };
  const differs = (known: string, asked: string): boolean =>
    known !== asked && !(known === '' && isAsDescribed === true);
  const cgroupParent = pod.linux?.cgroupParent ?? '';
  const fields: Record<string, FieldEdit> = {
    ...(differs(pod.logDirectory, described.logDirectory) && { logDirectory: { set: pod.logDirectory } }),
    ...(differs(cgroupParent, described.linux?.cgroupParent ?? '') && {
      linux: { into: { message: 'LinuxPodSandboxConfig', fields: { cgroupParent: { set: cgroupParent } } } },
    }),
  };
  if (Object.keys(fields).length === 0) return {};
  return { sandboxConfig: { into: { message: 'PodSandboxConfig', fields } } };
}

function unknownPod(id: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'PROXY_UNKNOWN_POD',
    kind: 'precondition',
    attempted: 'create container in pod',
    on: id.slice(0, 80),
    why: `the pod was not created through the proxy, and ${why}`,
    fix: 'create the pod again through the proxy',
  });
}
