import { closeSync, open, writeFile } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { podFilesIn } from '../pods/files.ts';
import type { ImageStore } from '../images/types.ts';
import type { ContainerCgroup } from '../oci/cgroup-place.ts';
import { systemdAnnotations } from '../oci/cgroup-place.ts';
import type { CgroupMounts } from '../oci/cgroups.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { checkedResources, uncountedHugepages } from '../oci/check-resources.ts';
import type { ResourceSupport } from '../oci/resource-support.ts';
import type { HandlerFeatures } from '../oci/probe/features.ts';
import { provideLauncher } from '../oci/launcher.ts';
import { cleanContainerPath } from '../oci/container-path.ts';
import { commandPlace } from '../oci/command-place.ts';
import { checkDestinations } from '../oci/destinations.ts';
import { reserveLauncherName } from '../oci/launcher-name.ts';
import type { ContainerPlan } from '../oci/made-container.ts';
import { generateSpec, serialiseSpec } from '../oci/spec.ts';
import { podDirIn } from '../pods/effects.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { settleAll } from '../state/settle.ts';
import { planSandbox } from '../pods/validate.ts';
import type { AdmittedImage } from './admission.ts';
import type { Confinement } from './confinement.ts';
import { withEdits } from './cdi/edits.ts';
import type { CdiRegistry } from './cdi/registry.ts';
import { declaredVolumes } from './declared-volumes.ts';
import { allHostDevices, ownedBy, withAllHostDevices } from './host-devices.ts';
import { hostRequest } from './host-request.ts';
import { mountVolumes } from './image-volumes.ts';
import { checkPropagation, makeMissing } from './mount-sources.ts';
import { heldSettings } from './held-settings.ts';
import { namedByAnnotation } from './profile-name.ts';
import { pastItsLink } from './link-class.ts';
import { argumentsOf, environmentOf, workingDirOf } from './process-of.ts';
import type { PidNamespace } from './pid-namespace.ts';
import type { ContainerRecord } from './record.ts';
import type { Prepared } from './container-effects.ts';
import { writableLimit } from './rootfs-limit.ts';
import { signalNumber, stopSignalOf } from './stop-signal.ts';
import { resolveUser } from './user.ts';
import { checkMappable, checkUserIn, joinedUserNamespace, rootOwner } from './user-namespace.ts';

/**
 * Uses descriptors, which close at once: a FileHandle closes in a thread, and the container would wait for
 * it.
 */
const openFile = promisify(open);
const writeAll = promisify(writeFile);

/**
 * Creates the bundle; every spec passes through here. Confines, mounts the root file system, writes
 * `config.json`.
 */
export async function writeBundle(input: {
  readonly stateDir: string;
  readonly images: Pick<ImageStore, 'mountRootfs' | 'mountVolume' | 'limitsWrites' | 'limitWrites'>;
  /** Size limit of every writable layer, as written in the configuration. */
  readonly writableLayerSize: string;
  readonly kubeletRoot: string;
  readonly cdi: CdiRegistry;
  readonly devicesOwnedByUser: boolean;
  readonly confinement: Confinement;
  readonly oomScoreFloor: number;
  readonly resourceSupport: ResourceSupport;
  readonly record: ContainerRecord;
  readonly sandbox: SandboxRecord;
  readonly admitted: AdmittedImage;
  readonly handler: RuntimeHandler;
  readonly bundle: string;
  readonly cgroup: ContainerCgroup;
  readonly cgroups: Pick<CgroupMounts, 'version'>;
  readonly pidNamespace: PidNamespace;
  readonly paths: HostPaths;
  /** The features that the probe found in a handler. */
  readonly features: (handler: string) => Promise<HandlerFeatures>;
  /** Called when the request is known to be within its ceilings. */
  readonly accepted: () => void;
  /** Called with the plan of the container, before the runtime gets it. */
  readonly planned: (plan: ContainerPlan) => void;
}): Promise<Prepared> {
  const { record, sandbox, admitted, handler, bundle } = input;
  const { config } = record;
  const image = admitted.image.config;
  const plan = planSandbox(sandbox.config);
  const security = config.linux?.securityContext;
  const stopSignal = stopSignalOf(config.stopSignal, image.stopSignal);
  signalNumber(stopSignal);
  const asks = config.linux?.resources;
  const resources = asks === undefined ? undefined : checkedResources(asks, input.resourceSupport);
  const host = await hostRequest({ config, sandbox, kubeletRoot: input.kubeletRoot, cdi: input.cdi, paths: input.paths });
  const { settings, labels, relabel, privilegedCeiling } = await input.confinement.confine({
    config,
    sandbox,
    ceilings: admitted.verdict.ceilings,
    requested: admitted.verdict.requestedEntitlements,
    runtime: handler.kind,
    access: host.access,
    sharesHostPids: input.pidNamespace.isHost,
  });
  input.accepted();
  const process = { args: argumentsOf(config, image), env: environmentOf(config, image, plan.hostname), cwd: workingDirOf(config, image) };
  const features = await input.features(record.runtimeHandler);
  const userNamespace = await joinedUserNamespace(plan, sandbox, features);
  const mapping = userNamespace && { userNamespace: userNamespace.path, uids: userNamespace.uids, gids: userNamespace.gids };
  const limit = writableLimit(sandbox.config.annotations, config.metadata?.name ?? '', input.writableLayerSize);
  using opened = new DisposableStack();
  const [rootfs, configFile] = await settleAll([
    input.images.mountRootfs(record.id, admitted.image, mapping, labels.selinux?.mount),
    // The file is opened here, while the mount takes longer. When the spec is ready, only its bytes remain to
    // be written.
    openIn(bundle, 'config.json').then((fd) => opened.adopt(fd, closeSync)),
    checkPropagation(host.sources),
  ]);
  // A limit that only the configuration names is not enforced everywhere, and Status reports this. A limit
  // that a pod names is enforced, or the request is refused.
  if (limit !== undefined && (limit.asked || input.images.limitsWrites)) await input.images.limitWrites(record.id, limit.bytes);
  // Before any volume that the image declares could be created at this path.
  if (settings.landlock !== undefined) reserveLauncherName(rootfs.path);
  const user = resolveUser(rootfs.path, image.user, security);
  if (userNamespace !== undefined) checkUserIn(userNamespace, user);
  const volumes = await mountVolumes(input.images, record.id, admitted.volumes, mapping);
  const files = podFilesIn(podDirIn(input.stateDir, sandbox.id));
  await relabel([
    ...(plan.hostIpc ? [] : [files.shm]),
    ...[files.resolvConf, files.hostname, files.hosts],
    ...host.sources.filter(({ mount }) => mount.selinuxRelabel).map(({ path }) => path),
  ]);
  const mounts = [...host.sources.map(({ mount, path }) => ({ ...mount, hostPath: path })), ...volumes];
  if (userNamespace !== undefined) await checkMappable(input.paths, mounts, userNamespace.path);
  const declared = declaredVolumes(
    rootfs.path,
    image.volumes,
    new Set(mounts.map((mount) => cleanContainerPath(mount.containerPath))),
    rootOwner(userNamespace),
  );
  const asked = input.devicesOwnedByUser ? ownedBy(host.devices, user) : host.devices;
  const devices = settings.hostDevices ? withAllHostDevices(await allHostDevices(input.paths), asked) : asked;
  const pins = sandbox.namespacesDir;
  const launcher = settings.landlock && (await provideLauncher(input.stateDir, settings.landlock));
  const spec = generateSpec({
    rootfs: rootfs.path,
    ...process,
    env: process.env.some((entry) => entry.startsWith('HOME=')) ? process.env : [...process.env, `HOME=${user.home}`],
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    terminal: config.tty,
    settings,
    labels,
    runtime: handler.kind,
    mounts: [...declared, ...mounts],
    devices,
    resources,
    cgroupsPath: input.cgroup.specPath,
    podFiles: files,
    namespaces: {
      ...(!plan.hostNetwork && pins !== undefined && { network: join(pins, 'net'), uts: join(pins, 'uts') }),
      ...(!plan.hostIpc && pins !== undefined && { ipc: join(pins, 'ipc') }),
      ...(input.pidNamespace.path !== undefined && { pid: input.pidNamespace.path }),
    },
    hostPid: input.pidNamespace.isHost,
    // As in other runtimes: version 1 has no cgroup namespace that a container could mount, and a privileged
    // container manages the cgroups of the node.
    cgroupNamespace: input.cgroups.version === 2 && !settings.writableSys,
    features,
    userNamespace,
    oomScoreFloor: input.oomScoreFloor,
    ...(launcher !== undefined && { launcher }),
    // No annotation of the image or the pod reaches the runtime, because crun and runc act on some
    // annotations.
    annotations: {
      'dev.portcullis.sandbox': sandbox.id,
      'dev.portcullis.verdict': record.verdictId,
      ...(input.cgroup.systemd && systemdAnnotations),
    },
  });
  const edited = host.edits === undefined ? spec : withEdits(spec, host.edits);
  // A thread writes the file while the destinations are checked. If the container is refused, the file is
  // removed with the bundle.
  const [, places] = await settleAll([
    writeAll(configFile, serialiseSpec(edited)),
    checkDestinations({
      spec: edited,
      rootfs: rootfs.path,
      launcher,
      privileged: privilegedCeiling,
      container: record.id,
      paths: input.paths,
    }),
  ]);
  input.planned({ ...places, maskedPaths: edited.linux.maskedPaths, place: commandPlace(edited) });
  // Only now: a refused request leaves nothing on the host.
  await makeMissing(host.sources, input.paths);
  const { uid, gid, additionalGids } = user;
  const past = pastItsLink(settings, userNamespace !== undefined);
  const uncounted = asks === undefined ? [] : uncountedHugepages(asks, input.resourceSupport);
  const degraded = [...settings.degraded, ...(past === undefined ? [] : [past]), ...uncounted];
  const profile = namedByAnnotation(sandbox.config.annotations, config.metadata?.name ?? '')?.name;
  return {
    settingsDigest: settings.digest,
    networkClass: settings.networkClass,
    ...(settings.peers !== undefined && { peers: settings.peers }),
    noNewPrivileges: settings.noNewPrivileges,
    labels,
    degraded,
    held: heldSettings({ ...settings, degraded }, admitted.verdict, profile),
    user: { uid, gid, additionalGids },
    stopSignal,
  };
}

/** Creates the folder and, in it, a file that only root can read. */
async function openIn(folder: string, name: string): Promise<number> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return openFile(join(folder, name), 'w', 0o600);
}
