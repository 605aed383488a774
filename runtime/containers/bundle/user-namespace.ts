import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { IDMapping, Mount } from '../../cri/contract/contract.types.ts';
import { hasNoAnswer } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { JoinedUserNamespace } from '../../oci/mounts.ts';
import type { HandlerFeatures } from '../../oci/handler-features.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { SandboxPlan } from '../../pods/validate.ts';
import type { ContainerUser } from './user.ts';

/** Returns the user namespace of a container's pod in the form that the spec needs; undefined: the host's. */
export async function joinedUserNamespace(
  plan: SandboxPlan,
  sandbox: SandboxRecord,
  features: HandlerFeatures,
): Promise<JoinedUserNamespace | undefined> {
  if (plan.userNamespace === undefined || sandbox.namespacesDir === undefined) return undefined;
  return {
    path: join(sandbox.namespacesDir, 'user'),
    ...plan.userNamespace,
    ...(!features.bindsKeepSubmounts && { mountinfo: await readFile('/proc/self/mountinfo', 'utf8') }),
  };
}

/** Returns the host user that owns the files of the container's root; undefined: root. */
export function rootOwner(
  namespace: JoinedUserNamespace | undefined,
): { readonly uid: number; readonly gid: number } | undefined {
  return namespace === undefined ? undefined : { uid: namespace.uids.hostId, gid: namespace.gids.hostId };
}

/** Returns the ids on the host of a container's user. */
export function hostOwner(
  user: Pick<ContainerUser, 'uid' | 'gid'>,
  namespace: JoinedUserNamespace | undefined,
): { readonly uid: number; readonly gid: number } {
  return {
    uid: (namespace?.uids.hostId ?? 0) + user.uid,
    gid: (namespace?.gids.hostId ?? 0) + user.gid,
  };
}

/**
 * Without this check, the runtime would only report "Invalid argument" for a user that does not exist in the
 * namespace.
 * @throws PortcullisError RUNTIME_BAD_USER
 */
export function checkUserIn(
  namespace: { readonly uids: IDMapping; readonly gids: IDMapping },
  user: ContainerUser,
): void {
  const outside =
    user.uid >= namespace.uids.length
      ? `uid ${user.uid}`
      : [user.gid, ...user.additionalGids]
          .filter((gid) => gid >= namespace.gids.length)
          .map((gid) => `gid ${gid}`)[0];
  if (outside === undefined) return;
  throw new PortcullisError({
    code: 'RUNTIME_BAD_USER',
    kind: 'invalid',
    attempted: 'find the user of a container',
    on: outside,
    why: `the pod's user namespace has only ${namespace.uids.length} uids and ${namespace.gids.length} gids`,
    fix: 'run the container as a user in that range, or give the pod more ids',
  });
}

/**
 * Asks the kernel whether each mount that requests an id mapping supports it, before anything is created.
 * @throws PortcullisError RUNTIME_IDMAP_UNSUPPORTED, with the path and what to do
 */
export async function checkMappable(
  paths: Pick<HostPaths, 'checkIdmap'>,
  mounts: readonly Mount[],
  userNamespace: string,
): Promise<void> {
  for (const mount of mounts) {
    if (mount.uidMappings.length === 0) continue;
    try {
      await paths.checkIdmap(mount.hostPath, userNamespace);
    } catch (cause) {
      if (hasNoAnswer(cause)) throw cause;
      throw new PortcullisError({
        code: 'RUNTIME_IDMAP_UNSUPPORTED',
        kind: 'precondition',
        attempted: `map the ids of ${mount.hostPath} for mount`,
        on: mount.containerPath,
        why: reasonOf(cause),
        fix: 'keep the volume on a file system with idmapped mounts (ext4, xfs, btrfs; tmpfs from Linux 6.3), or run the pod with `hostUsers: true`',
        cause,
      });
    }
  }
}
