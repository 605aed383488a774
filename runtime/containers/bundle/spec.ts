import { join } from 'node:path';
import type { Mount } from '../../cri/contract/contract.types.ts';
import { systemdAnnotations } from '../../cgroups/cgroup-driver.ts';
import type { JoinedUserNamespace, PodFiles } from '../../oci/mounts.ts';
import type { CgroupView } from '../../oci/cgroup-view.ts';
import type { HandlerFeatures } from '../../oci/handler-features.ts';
import { withBoundDevices } from '../../oci/bound-devices.ts';
import { boundedOciMounts } from '../../oci/profile-bounds.ts';
import { withNodeMountsReadonly } from '../../oci/readonly-below.ts';
import { generateSpec } from '../../oci/spec.ts';
import type { SpecInput } from '../../oci/spec.ts';
import { shimAnnotations } from '../../oci/shim-annotations.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { withEdits, withVariables } from '../cdi/edits.ts';
import { withLimits } from './process-limits.ts';
import type { DeviceNode } from '../host-devices.ts';
import type { ContainerUser } from './user.ts';
import type { CheckedRequest } from './request.ts';

/** Objects that were found and created on the host for one container. */
export interface BundleContents {
  /** The path of the root file system. */
  readonly rootfs: string;
  readonly process: Pick<SpecInput, 'args' | 'env' | 'cwd'>;
  readonly user: ContainerUser;
  readonly features: HandlerFeatures;
  readonly userNamespace: JoinedUserNamespace | undefined;
  readonly files: PodFiles;
  readonly mounts: readonly Mount[];
  /** The table of mounts of the node, if a mount is in a read-only path, or above one. */
  readonly mountinfo: string | undefined;
  readonly devices: readonly DeviceNode[];
  readonly cgroups: CgroupView;
  readonly launcher: string | undefined;
}

/**
 * Returns the OCI spec of a container, with the edits of its CDI devices. Pure.
 * @throws PortcullisError the errors of `generateSpec`, and those of `boundedOciMounts`
 */
export function bundleSpec(
  deps: { readonly oomScoreFloor: number },
  request: CheckedRequest,
  contents: BundleContents,
): OciSpec {
  const { record, sandbox, handler, cgroup, pidNamespace, host, confined } = request;
  const { process, user, launcher } = contents;
  const { settings, labels } = confined;
  const own = process.env.some((entry) => entry.startsWith('HOME='))
    ? process.env
    : [...process.env, `HOME=${user.home}`];
  const spec = generateSpec({
    rootfs: contents.rootfs,
    ...process,
    // Before a launcher gets the folders of PATH, in which it looks for the command.
    env: host.edits === undefined ? own : withVariables(own, host.edits.env),
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    terminal: record.config.tty,
    settings: withLimits(settings, record.adjusted?.beyond.rlimits ?? []),
    labels,
    runtime: handler.kind,
    mounts: contents.mounts,
    devices: contents.devices,
    resources: request.resources,
    cgroupsPath: cgroup.specPath,
    podFiles: contents.files,
    namespaces: joinedNamespaces(request),
    hostPid: pidNamespace.isHost,
    cgroups: contents.cgroups,
    features: contents.features,
    userNamespace: contents.userNamespace,
    oomScoreFloor: deps.oomScoreFloor,
    ...(launcher !== undefined && { launcher }),
    // No annotation of the image or the pod reaches the runtime, because crun and runc act on some
    // annotations.
    annotations: {
      'dev.portcullis.sandbox': sandbox.id,
      'dev.portcullis.verdict': record.verdictId,
      ...(handler.tasks !== undefined &&
        shimAnnotations('container', sandbox.id, record.config.metadata?.name)),
      ...(cgroup.systemd && systemdAnnotations),
    },
  });
  const edited =
    host.edits === undefined
      ? spec
      : withEdits(spec, {
          ...host.edits,
          mounts: boundedOciMounts(host.edits.mounts, settings.bounds, contents.features),
        });
  const bound =
    handler.kind === 'runc' && contents.userNamespace !== undefined
      ? withBoundDevices(edited, [...contents.devices, ...(host.edits?.devices ?? [])])
      : edited;
  return withNodeMountsReadonly(bound, contents.mountinfo, contents.features.recursiveReadOnlyMounts);
}

/**
 * Returns the paths of the namespaces that the container joins: those namespaces of its pod that are not the
 * host's, and a shared PID namespace.
 */
export function joinedNamespaces({
  plan,
  sandbox,
  pidNamespace,
}: {
  readonly plan: Pick<CheckedRequest['plan'], 'hostNetwork' | 'hostIpc'>;
  readonly sandbox: Pick<CheckedRequest['sandbox'], 'namespacesDir'>;
  readonly pidNamespace: Pick<CheckedRequest['pidNamespace'], 'path'>;
}): SpecInput['namespaces'] {
  const pins = sandbox.namespacesDir;
  return {
    ...(!plan.hostNetwork && pins !== undefined && { network: join(pins, 'net'), uts: join(pins, 'uts') }),
    ...(!plan.hostIpc && pins !== undefined && { ipc: join(pins, 'ipc') }),
    ...(pidNamespace.path !== undefined && { pid: pidNamespace.path }),
  };
}
