import { closeSync, open, writeFile } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { namingFile } from '../../../base/files/index.ts';
import { makeFolder } from '../../../base/storage/index.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { ImageStore } from '../../images/types.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import { allowsTun } from '../../cgroups/tun-device.ts';
import { commandPlace } from '../../oci/command-paths.ts';
import { checkDestinations } from '../../oci/destinations.ts';
import { reserveLauncherName } from '../../container-mounts/launcher-name.ts';
import { withPlainFileMounts } from '../../oci/file-mounts.ts';
import { provideLauncher } from '../../oci/launcher.ts';
import type { HandlerFeatures } from '../../oci/handler-features.ts';
import type { ResourceSupport } from '../../cgroups/resource-support.ts';
import { withLinkedReadonly } from '../../oci/readonly-below.ts';
import { serialiseSpec } from '../../oci/spec.ts';
import type { OciMount, OciSpec } from '../../oci/spec.types.ts';
import { podDirIn } from '../../pods/effects.ts';
import { podFilesIn } from '../../pods/files.ts';
import { settleAll } from '../../state/settle.ts';
import { cgroupViewOf } from './cgroup-view.ts';
import { makeFolderInRoot } from './declared-volumes.ts';
import { bundleDevices, bundleMounts, mountinfoFor } from './mounts.ts';
import { preparedFields } from './prepared.ts';
import { checkRequest } from './request.ts';
import type { BundleRequest } from './request.ts';
import { bundleSpec } from './spec.ts';
import type { CdiRegistry } from '../cdi/registry.ts';
import type { Confinement } from '../confinement/confinement.ts';
import type { Prepared } from '../container-effects.ts';
import { checkPropagation, makeMissing } from '../mount-sources.ts';
import { argumentsOf, environmentOf, withoutVariables, workingDirOf } from './process-of.ts';
import { writableLimit } from './rootfs-limit.ts';
import { checkUserIn, hostOwner, joinedUserNamespace, rootOwner } from './user-namespace.ts';
import { resolveUser } from './user.ts';

/**
 * Uses descriptors, which close at once: a FileHandle closes in a thread, and the container would wait for
 * it.
 */
const openFile = promisify(open);
const writeAll = promisify(writeFile);

export interface BundleDeps {
  readonly stateDir: string;
  readonly images: Pick<ImageStore, 'mountRootfs' | 'mountVolume' | 'limitsWrites' | 'limitWrites'>;
  /** Size limit of every writable layer, as written in the configuration. */
  readonly writableLayerSize: string;
  readonly kubeletRoot: string;
  readonly cdi: CdiRegistry;
  /** Whether requested devices belong to the user of the container. */
  readonly devicesOwnedByUser: boolean;
  readonly confinement: Confinement;
  readonly oomScoreFloor: number;
  readonly resourceSupport: ResourceSupport;
  readonly cgroups: CgroupMounts;
  readonly paths: HostPaths;
  /** The features that the probe found in a handler. */
  readonly features: (handler: string) => Promise<HandlerFeatures>;
}

/** Creates the bundle of every container: confines it, mounts the root file system, writes `config.json`. */
export async function writeBundle(deps: BundleDeps, asked: BundleRequest): Promise<Prepared> {
  const request = await checkRequest(deps, asked);
  request.accepted();
  const { record, sandbox, admitted, plan, host } = request;
  const { settings, labels, privilegedCeiling } = request.confined;
  const { config } = record;
  const image = admitted.image.config;
  const process = {
    args: argumentsOf(config, image),
    env: withoutVariables(environmentOf(config, image, plan.hostname), record.adjusted?.beyond.removedEnv),
    cwd: workingDirOf(config, image),
  };
  const features = await deps.features(record.runtimeHandler);
  const ownKernel = request.handler.guestKernel !== undefined;
  const cgroups = await cgroupViewOf(deps.cgroups, config, settings, ownKernel);
  const userNamespace = await joinedUserNamespace(plan, sandbox, features);
  const mapping = userNamespace && {
    userNamespace: userNamespace.path,
    uids: userNamespace.uids,
    gids: userNamespace.gids,
  };
  const limit = writableLimit(
    sandbox.config.annotations,
    config.metadata?.name ?? '',
    deps.writableLayerSize,
  );
  await request.restore?.fill();
  using opened = new DisposableStack();
  const [rootfs, configFile] = await settleAll([
    deps.images.mountRootfs(record.id, admitted.image, mapping, labels.selinux?.mount),
    // The file is opened here, during the mount, which takes longer. When the spec is ready, only its bytes
    // have to be written.
    openIn(request.bundle, request.configName).then((fd) => opened.adopt(fd, closeSync)),
    checkPropagation(host.sources),
  ]);
  // A limit that only the configuration names may not be enforceable, and Status reports this. A limit that a
  // pod names is enforced, or the request is refused.
  if (limit !== undefined && (limit.asked || deps.images.limitsWrites))
    await deps.images.limitWrites(record.id, limit.bytes);
  // Before any volume that the image declares could be created at this path.
  if (settings.landlock !== undefined) reserveLauncherName(rootfs.path);
  const user = resolveUser(rootfs.path, image.user, config.linux?.securityContext);
  const gids = [...user.additionalGids, ...(host.edits?.additionalGids ?? [])];
  if (userNamespace !== undefined) checkUserIn(userNamespace, { ...user, additionalGids: gids });
  const files = podFilesIn(podDirIn(deps.stateDir, sandbox.id));
  const mounts = await bundleMounts(deps, request, files, { path: rootfs.path, mapping, userNamespace });
  const destinations = mounts.map(({ containerPath }) => ({ destination: containerPath }));
  const mountinfo = await mountinfoFor(
    [...destinations, ...(host.edits?.mounts ?? [])],
    settings.readonlyPaths,
  );
  const devices = await bundleDevices(deps, request, user);
  const launcher = settings.landlock && (await provideLauncher(deps.stateDir, settings.landlock));
  const specified = bundleSpec(deps, request, {
    rootfs: rootfs.path,
    process,
    user,
    features,
    userNamespace,
    files,
    mounts,
    mountinfo,
    devices,
    cgroups,
    launcher,
  });
  const asSpecified =
    request.handler.kind === 'crun' ? await withPlainFileMounts(specified, deps.paths) : specified;
  const spec = (await request.restore?.accept(asSpecified, settings)) ?? asSpecified;
  // A thread writes the file while the destinations are checked. If the container is refused, the file is
  // removed with the bundle.
  const configPath = join(request.bundle, request.configName);
  const [, { missing, linked, ...places }] = await settleAll([
    writeAll(configFile, serialiseSpec(spec)).catch(namingFile(configPath)),
    checkDestinations({
      spec,
      rootfs: rootfs.path,
      launcher,
      privileged: privilegedCeiling,
      container: record.id,
      paths: deps.paths,
    }),
  ]);
  const isLinked = await rewriteWithLinked(configPath, spec, linked);
  for (const folder of missing) makeFolderInRoot(rootfs.path, folder, rootOwner(userNamespace));
  if (!allowsTun(spec.linux.resources.devices ?? [])) request.withoutTun();
  if (cgroups.delegated) request.delegated(hostOwner(user, userNamespace));
  const containerPlan = { ...places, maskedPaths: spec.linux.maskedPaths, place: commandPlace(spec) };
  request.restore?.checkPlan(containerPlan, isLinked);
  request.planned(containerPlan);
  // Only now: a refused request leaves nothing on the host.
  await makeMissing(host.sources, deps.paths);
  const hasUserNamespace = userNamespace !== undefined;
  return preparedFields(request, user, { hasUserNamespace, resourceSupport: deps.resourceSupport });
}

/**
 * Writes the specification again if links of the image or of a volume lead mounts into read-only paths.
 * Returns whether they do.
 */
async function rewriteWithLinked(file: string, spec: OciSpec, linked: readonly OciMount[]): Promise<boolean> {
  const mountinfo = await mountinfoFor(linked, spec.linux.readonlyPaths);
  const changed = withLinkedReadonly(spec, linked, mountinfo);
  if (changed === spec) return false;
  await writeAll(file, serialiseSpec(changed)).catch(namingFile(file));
  return true;
}

/** Creates the folder and, in it, a file that only root can read. */
async function openIn(folder: string, name: string): Promise<number> {
  await makeFolder(folder);
  return openFile(join(folder, name), 'w', 0o600);
}
