import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { createKeyedQueue } from '../../base/queues/index.ts';
import type { Settings } from '../../entitlements/index.ts';
import type { Verdict } from '../../trust/index.ts';
import type { Confined, Confinement } from '../containers/confinement/confinement.ts';
import { admitForRun } from '../containers/bundle/admission.ts';
import type { AdmittedImage } from '../containers/bundle/admission.ts';
import type { AdmittedVolume } from '../containers/bundle/image-volumes.ts';
import { asksWritableCgroups, checkCgroupOptions } from '../containers/bundle/cgroup-view.ts';
import { hostRequest } from '../containers/bundle/host-request.ts';
import { addedMountPoints } from '../containers/bundle/mounts.ts';
import type { CdiRegistry } from '../containers/cdi/registry.ts';
import { isImageVolume } from '../containers/mount-sources.ts';
import { pidModeOf } from '../containers/pid-namespace.ts';
import { criCodec } from '../cri/contract/services.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type {
  ContainerConfig,
  ContainerStatusRequest,
  ContainerStatusResponse,
  CreateContainerRequest,
  ImageSpec,
  LinuxContainerResources,
  ListContainersRequest,
  ListContainersResponse,
  UpdateContainerResourcesRequest,
} from '../cri/contract/contract.types.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { imageIdOf } from '../images/artifact-layer.ts';
import { idForm } from '../images/find-image.ts';
import { tryImageName } from '../images/image-name.ts';
import type { ImageRecord } from '../images/types.ts';
import { mergedResources } from '../oci/resources.ts';
import { nothingAsked } from '../oci/profile-bounds.ts';
import type { BackendAnswer } from './backend.ts';
import { decoded, readable } from './calls.ts';
import type { InterceptedCall, Interceptors } from './calls.ts';
import { hostPlaces, readonlyVolume, withFollowedDevices } from './host-places.ts';
import type { HostPlaces } from './host-places.ts';
import { backendImage, imageIdFrom } from './image-calls.ts';
import type { ProxyImages } from './images.ts';
import { checkNamespaces } from './namespaces.ts';
import { narrowed, resourceEdits } from './narrow.ts';
import type { Narrowed } from './narrow.ts';
import { checkPidTarget } from './pid-target.ts';
import { createRecorded, recordCreated } from './creations.ts';
import type { ProxyCreation, ProxyRecords, ProxySandbox } from './records.ts';
import { podEdits, sandboxOf } from './sandbox-calls.ts';
import type { SeccompFiles } from './seccomp-files.ts';
import { editMessage } from './wire.ts';
import type { FieldEdit } from './wire.ts';

export interface ContainerCallsDeps {
  readonly records: ProxyRecords;
  readonly images: ProxyImages;
  readonly confinement: Confinement;
  readonly cdi: CdiRegistry;
  readonly paths: HostPaths;
  readonly kubeletRoot: string;
  readonly seccompFiles: SeccompFiles;
  readonly defaultDevices: Settings['devices'];
  readonly heldCapabilities: readonly string[];
  readonly log: Logger;
}

/** The calls that create containers and change their limits. */
export function containerCalls(deps: ContainerCallsDeps): Interceptors['calls'] {
  const { records, log } = deps;
  const updates = createKeyedQueue();
  return {
    'RuntimeService/CreateContainer': async (call) => {
      const request = decoded(criCodec<CreateContainerRequest>('CreateContainerRequest'), call.request);
      const { config } = request;
      if (config === undefined) throw noConfig();
      const sandbox = await sandboxOf(records, call, request.podSandboxId, request.sandboxConfig);
      await checkPidTarget(records.containers, call, config, sandbox.id);
      checkNamespaces(config, sandbox.config, request.sandboxConfig);
      const admitted = await admitImages(deps, call, config, sandbox);
      const { settings, narrow, places } = await confine(deps, config, sandbox, admitted.verdict);
      const ids = await backendIds(call, config, admitted);
      const pod = podEdits(sandbox, request.sandboxConfig);
      const changed = readable(() => changedRequest(call.request, sandbox.id, { ids, narrow, places, pod }));
      const limits = settings.bounds?.resources;
      const bounded = limits !== undefined && Object.keys(limits).length > 0;
      const container: ProxyCreation['container'] = {
        sandboxId: sandbox.id,
        namespace: sandbox.config.metadata?.namespace ?? '',
        imageId: admitted.image.id,
        userSpecified: config.image?.userSpecifiedImage ?? '',
        verdictId: admitted.verdict.id,
        ...(admitted.volumes.length > 0 && { volumes: admitted.volumes.map(judgedVolume) }),
        ...(bounded && { bounded: { limits, resources: config.linux?.resources ?? nothingAsked } }),
      };
      const { answer, containerId } = await createRecorded(
        { records, log },
        { call, message: changed, metadata: config.metadata, container },
      );
      const degraded = [...settings.degraded, ...narrow.beyond];
      const facts = { container: containerId, image: admitted.image.id, verdict: admitted.verdict.id };
      log.info({ ...facts, ...(degraded.length > 0 && { degraded }) }, 'container created');
      return answer;
    },
    'RuntimeService/UpdateContainerResources': async (call) => {
      const request = decoded(
        criCodec<UpdateContainerResourcesRequest>('UpdateContainerResourcesRequest'),
        call.request,
      );
      const id = await recordedId(records, call, request.containerId);
      if (id === undefined) return call.forward(call.request);
      // Each update is judged by the limits that the one before it has left.
      return updates.run(id, () => updateResources(records, call, id, request.linux));
    },
  };
}

/**
 * Returns the id of the container of an update. Undefined: it was not created through the proxy, and has no
 * limits. The beginning of an id may mean several records here, such as of containers that the backend has
 * removed, and one container for the backend, which is asked then.
 */
async function recordedId(
  records: ProxyRecords,
  call: Pick<InterceptedCall, 'ask'>,
  asked: string,
): Promise<string | undefined> {
  const { containers, creations } = records;
  const known = containers.find(asked);
  const isUnanswered = creations.list().length > 0;
  if (known !== undefined || !(isUnanswered || containers.list().some(({ id }) => id.startsWith(asked))))
    return known?.id;
  const request = criCodec<ContainerStatusRequest>('ContainerStatusRequest').encode({ containerId: asked });
  const answer = await call.ask('RuntimeService/ContainerStatus', request);
  const { status } = decoded(criCodec<ContainerStatusResponse>('ContainerStatusResponse'), answer);
  const id = status?.id ?? '';
  if (isUnanswered && containers.get(id) === undefined) {
    const filter = criCodec<ListContainersRequest>('ListContainersRequest').encode({ filter: { id } });
    const listed = await call.ask('RuntimeService/ListContainers', filter);
    await recordCreated(
      records,
      decoded(criCodec<ListContainersResponse>('ListContainersResponse'), listed).containers,
    );
  }
  return containers.get(id)?.id;
}

async function updateResources(
  { containers }: ContainerCallsDeps['records'],
  call: InterceptedCall,
  id: string,
  asked: LinuxContainerResources | undefined,
): Promise<BackendAnswer> {
  const record = containers.get(id);
  if (record?.bounded === undefined || asked === undefined) return call.forward(call.request);
  const { limits, resources } = record.bounded;
  const merged = mergedResources(resources, asked);
  const linux: FieldEdit = {
    into: { message: 'LinuxContainerResources', fields: resourceEdits(merged, limits) },
  };
  const answer = await call.forward(
    readable(() =>
      editMessage(call.request, {
        message: 'UpdateContainerResourcesRequest',
        fields: { containerId: { set: id }, linux },
      }),
    ),
  );
  await containers.put({ ...record, bounded: { limits, resources: merged } }, [], 'process');
  return answer;
}

const judgedVolume = ({ mount, image, verdict }: AdmittedVolume) => ({
  ...{ imageId: image.id, userSpecified: mount.image?.userSpecifiedImage ?? '', verdictId: verdict.id },
});

/**
 * Decides about the image and about image volumes, offline, for the namespace of the pod and by the policy in
 * force. An image that the backend has and that was never verified here is verified now, without credentials:
 * the request has none.
 */
async function admitImages(
  deps: ContainerCallsDeps,
  call: InterceptedCall,
  config: ContainerConfig,
  sandbox: ProxySandbox,
): Promise<AdmittedImage> {
  const namespace = sandbox.config.metadata?.namespace ?? '';
  const specs = [config.image, ...config.mounts.filter(isImageVolume).map(({ image }) => image)];
  for (const spec of specs) await verifyPresent(deps.images, call, spec, namespace);
  const { token } = await admitForRun(deps.images, config, sandbox);
  return token as AdmittedImage;
}

async function verifyPresent(
  images: ProxyImages,
  call: InterceptedCall,
  spec: ImageSpec | undefined,
  namespace: string,
): Promise<void> {
  const asked = spec?.image ?? '';
  if (asked === '') return;
  const specified = tryImageName(spec?.userSpecifiedImage ?? '');
  const wanted = idForm.test(spec?.userSpecifiedImage ?? '') ? undefined : specified?.text;
  const known = images.find(asked);
  const isNamed = wanted === undefined || images.ownerOf(wanted) === known?.id;
  if (known !== undefined && isNamed) return;
  const held = await backendImage(call, images.byDigest(asked) ?? asked);
  if (held === undefined) return;
  const byId = idForm.test(asked) ? undefined : tryImageName(asked)?.text;
  const reference = wanted ?? byId ?? held.repoTags[0] ?? held.repoDigests[0];
  if (reference === undefined) throw unverified(asked, 'it has no name with which evidence can be found');
  const verified = await images.verify({ reference, namespace, signal: call.signal });
  const id = imageIdOf(verified.resolved);
  if (id !== imageIdFrom(held.id))
    throw unverified(asked, `the backend has ${held.id}, but ${reference} is now ${id} in the registry`);
  await images.record(verified);
}

/** Compares the request with the ceilings. @throws the errors of `Confinement.confine`; PROXY_NOT_ENFORCED */
async function confine(
  deps: ContainerCallsDeps,
  config: ContainerConfig,
  sandbox: ProxySandbox,
  verdict: Verdict,
): Promise<{ readonly settings: Settings; readonly narrow: Narrowed; readonly places: HostPlaces }> {
  const { confinement, cdi, paths, kubeletRoot, seccompFiles } = deps;
  const pid = pidModeOf(config, sandbox);
  const pod = sandbox.config.linux?.securityContext?.namespaceOptions;
  checkCgroupOptions(config);
  const followed = await withFollowedDevices(config, paths);
  const host = await hostRequest({ config: followed, sandbox, kubeletRoot, cdi, paths });
  const { settings } = await confined(confinement, {
    config,
    sandbox,
    ceilings: verdict.ceilings,
    requested: verdict.requestedEntitlements,
    // Which OCI runtime the backend starts is not known here.
    runtime: 'other',
    access: host.access,
    ...(asksWritableCgroups(config) && { writableCgroups: 'asked' }),
    // The target may share the namespace of a pod that shares the host's.
    sharesHostPids: pid === 'host' || (pid === 'target' && pod?.pid === NamespaceMode.NODE),
  });
  const filter = settings.seccomp?.oci;
  const seccompFile = filter === undefined ? undefined : await seccompFiles.write(filter);
  const { defaultDevices, heldCapabilities } = deps;
  const addedMounts = await addedMountPoints(host, settings.readonlyPaths);
  const narrow = narrowed({
    ...{ config, sandbox: sandbox.config, settings, addedMounts, seccompFile },
    ...{ defaultDevices, heldCapabilities },
  });
  if (narrow.beyond.length > 0 && !verdict.ceilings.every(({ onDegraded }) => onDegraded === 'allow'))
    throw notEnforced(narrow.beyond.join('; '));
  return { settings, narrow, places: await hostPlaces(config, { followed, sources: host.sources }, paths) };
}

async function confined(
  confinement: Confinement,
  input: Parameters<Confinement['confine']>[0],
): Promise<Confined> {
  try {
    return await confinement.confine(input);
  } catch (thrown) {
    if (isPortcullisError(thrown) && thrown.code === 'ENTITLEMENTS_UNENFORCEABLE')
      throw notEnforced('rules on files or mounts: the CRI has no field for them');
    throw thrown;
  }
}

/** The ids by which the backend knows the image and the image volumes, in the order of the mounts. */
interface BackendIds {
  readonly image: string;
  readonly volumes: ReadonlyMap<number, string>;
}

/** An id names content. A name could mean another image for the backend by the time it looks. */
async function backendIds(
  call: InterceptedCall,
  config: ContainerConfig,
  { image, volumes }: AdmittedImage,
): Promise<BackendIds> {
  const found = new Map<number, string>();
  for (const { mount, image: mounted } of volumes)
    found.set(config.mounts.indexOf(mount), await backendId(call, mount.image?.image ?? '', mounted));
  return { image: await backendId(call, config.image?.image ?? '', image), volumes: found };
}

async function backendId(call: InterceptedCall, asked: string, image: ImageRecord): Promise<string> {
  if (imageIdFrom(asked) === image.id) return asked;
  const held = await backendImage(call, image.repoDigests[0] ?? image.id);
  if (held !== undefined && imageIdFrom(held.id) === image.id) return held.id;
  throw new PortcullisError({
    code: 'PROXY_OTHER_IMAGE',
    kind: held === undefined ? 'not-found' : 'precondition',
    attempted: 'create container from image',
    on: asked,
    why:
      held === undefined
        ? 'the backend no longer has the verified image'
        : `the backend has ${held.id} instead of the verified image ${image.id}`,
    fix: 'pull it again through the proxy',
  });
}

interface Changes {
  readonly ids: BackendIds;
  readonly narrow: Narrowed;
  readonly places: HostPlaces;
  readonly pod: Record<string, FieldEdit>;
}

/** @param podSandboxId complete: the backend could find another pod by the beginning of an id */
function changedRequest(
  request: Buffer,
  podSandboxId: string,
  { ids, narrow, places, pod }: Changes,
): Buffer {
  const image = (id: string): FieldEdit => ({
    into: { message: 'ImageSpec', fields: { image: { set: id } } },
  });
  const mounts: FieldEdit = {
    each: (mount, index) => {
      const id = ids.volumes.get(index);
      const hostPath = places.mounts.get(index);
      return editMessage(mount, {
        message: 'Mount',
        fields: {
          ...(id !== undefined && { image: image(id) }),
          ...(hostPath !== undefined && { hostPath: { set: hostPath } }),
          ...(narrow.readonlyVolumes && readonlyVolume(places.files.has(index))),
        },
      });
    },
  };
  const devices: FieldEdit = {
    each: (device, index) => {
      const hostPath = places.devices.get(index);
      const fields = hostPath === undefined ? {} : { hostPath: { set: hostPath } };
      return editMessage(device, { message: 'Device', fields });
    },
  };
  const linux = {
    ...(Object.keys(narrow.security).length > 0 && {
      securityContext: { into: { message: 'LinuxContainerSecurityContext', fields: narrow.security } },
    }),
    ...(Object.keys(narrow.resources).length > 0 && {
      resources: { into: { message: 'LinuxContainerResources', fields: narrow.resources } },
    }),
  } satisfies Record<string, FieldEdit>;
  const fields: Record<string, FieldEdit> = {
    image: image(ids.image),
    mounts,
    devices,
    ...(Object.keys(linux).length > 0 && {
      linux: { into: { message: 'LinuxContainerConfig', fields: linux } },
    }),
  };
  return editMessage(request, {
    message: 'CreateContainerRequest',
    fields: {
      podSandboxId: { set: podSandboxId },
      config: { into: { message: 'ContainerConfig', fields } },
      ...pod,
    },
  });
}

function noConfig(): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_REQUEST',
    kind: 'invalid',
    attempted: 'create container',
    on: 'config',
    why: 'it is missing',
    fix: 'send the configuration of the container',
  });
}

function notEnforced(why: string): PortcullisError {
  return new PortcullisError({
    code: 'PROXY_NOT_ENFORCED',
    kind: 'precondition',
    attempted: 'run container within its profile',
    on: '',
    why: `a proxy cannot enforce all of it: ${why}`,
    fix: 'run the pod with the daemon of Portcullis, remove this from the ceiling, or set `entitlements: { onDegraded: allow }` in the rule of the trust policy',
  });
}

function unverified(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'PROXY_NOT_VERIFIED',
    kind: 'denied',
    attempted: 'create container from image',
    on,
    why: `it was not pulled through the proxy, and ${why}`,
    fix: 'pull it through the proxy, under the name that the pod uses',
    prefix: 'SignatureValidationFailed',
  });
}
