import { mkdir, writeFile } from 'node:fs/promises';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import { podFilesIn } from '../pods/files.ts';
import type { ImageStore } from '../images/types.ts';
import type { ContainerCgroup } from '../oci/cgroup-place.ts';
import { systemdAnnotations } from '../oci/cgroup-place.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { withoutIdleHugepageLimits } from '../oci/hugepages.ts';
import { generateSpec, serialiseSpec } from '../oci/spec.ts';
import { podDirIn } from '../pods/effects.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { planSandbox } from '../pods/validate.ts';
import type { AdmittedImage } from './admission.ts';
import type { Confinement } from './confinement.ts';
import { allHostDevices, askedDevices } from './host-devices.ts';
import { argumentsOf, environmentOf, workingDirOf } from './process-of.ts';
import type { ContainerRecord } from './record.ts';
import type { Prepared } from './container-effects.ts';
import { signalNumber, stopSignalOf } from './stop-signal.ts';
import { resolveUser } from './user.ts';

/** The one choke point for specs: confines, mounts the root file system, writes `config.json`. */
export async function writeBundle(input: {
  readonly stateDir: string;
  readonly images: Pick<ImageStore, 'mountRootfs'>;
  readonly confinement: Confinement;
  readonly oomScoreFloor: number;
  /** Whether cgroups count huge pages. */
  readonly hugepages: boolean;
  readonly record: ContainerRecord;
  readonly sandbox: SandboxRecord;
  readonly admitted: AdmittedImage;
  readonly handler: RuntimeHandler;
  readonly bundle: string;
  readonly cgroup: ContainerCgroup;
}): Promise<Prepared> {
  const { record, sandbox, admitted, handler, bundle } = input;
  const { config } = record;
  const image = admitted.image.config;
  const plan = planSandbox(sandbox.config);
  const security = config.linux?.securityContext;
  const stopSignal = stopSignalOf(config.stopSignal, image.stopSignal);
  signalNumber(stopSignal);
  const settings = await input.confinement.confine({ config, sandbox, ceilings: admitted.verdict.ceilings, runtime: handler.kind });
  const process = { args: argumentsOf(config, image), env: environmentOf(config, image, plan.hostname), cwd: workingDirOf(config, image) };
  const rootfs = await input.images.mountRootfs(record.id, admitted.image);
  const user = resolveUser(rootfs.path, image.user, security);
  await Promise.all([mkdir(bundle, { recursive: true, mode: 0o700 }), makeHostPaths(config.mounts.map((mount) => mount.hostPath))]);
  const pins = sandbox.namespacesDir;
  const spec = generateSpec({
    rootfs: rootfs.path,
    ...process,
    env: process.env.some((entry) => entry.startsWith('HOME=')) ? process.env : [...process.env, `HOME=${user.home}`],
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    terminal: config.tty,
    settings,
    runtime: handler.kind,
    mounts: config.mounts,
    devices: settings.hostDevices ? allHostDevices() : askedDevices(config.devices),
    resources: withoutIdleHugepageLimits(config.linux?.resources, input.hugepages),
    cgroupsPath: input.cgroup.specPath,
    podFiles: podFilesIn(podDirIn(input.stateDir, sandbox.id)),
    namespaces: {
      ...(!plan.hostNetwork && pins !== undefined && { network: join(pins, 'net'), uts: join(pins, 'uts') }),
      ...(!plan.hostIpc && pins !== undefined && { ipc: join(pins, 'ipc') }),
    },
    hostPid: security?.namespaceOptions?.pid === NamespaceMode.NODE,
    oomScoreFloor: input.oomScoreFloor,
    // None of the image's or the pod's reach the runtime: crun and runc act on some.
    annotations: {
      'dev.portcullis.sandbox': sandbox.id,
      'dev.portcullis.verdict': record.verdictId,
      ...(input.cgroup.systemd && systemdAnnotations),
    },
  });
  await writeFile(join(bundle, 'config.json'), serialiseSpec(spec), { mode: 0o600 });
  const { uid, gid, additionalGids } = user;
  return {
    settingsDigest: settings.digest,
    networkClass: settings.networkClass,
    noNewPrivileges: settings.noNewPrivileges,
    user: { uid, gid, additionalGids },
    stopSignal,
  };
}

/** A host path that is not there is made as a folder, as kubelets and other runtimes expect. */
async function makeHostPaths(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    if (path.startsWith('/') && statSync(path, { throwIfNoEntry: false }) === undefined)
      await mkdir(path, { recursive: true, mode: 0o755 });
  }
}
