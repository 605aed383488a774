import { PortcullisError } from '../../base/errors/index.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type { IDMapping, NamespaceOption } from '../cri/contract/contract.types.ts';

/** The ids of a pod with its own user namespace: one range each, which begins at root inside. */
export interface UserNamespacePlan {
  readonly uids: IDMapping;
  readonly gids: IDMapping;
}

/** Ids are 32 bits, and the last one means "none": user_namespaces(7). */
const idCount = 2 ** 32 - 1;
/** sysctl ping_group_range accepts no larger id: GID_T_MAX of the kernel's ping.c. */
const largestPingGroup = 2 ** 31 - 1;

/**
 * Returns the user namespace that a pod's `userns_options` request; undefined: the host's user namespace
 * (mode NODE, or no options). Pure.
 * Source: cri-api UserNamespace; kubelets give exactly one range of each (Kubernetes KEP-127).
 * @throws PortcullisError RUNTIME_BAD_USER_NAMESPACE
 */
export function planUserNamespace(
  on: string,
  options: NamespaceOption | undefined,
): UserNamespacePlan | undefined {
  const asked = options?.usernsOptions;
  if (asked === undefined) return undefined;
  if (asked.mode === NamespaceMode.NODE) {
    if (asked.uids.length + asked.gids.length > 0)
      throw bad(
        on,
        'mode NODE is the user namespace of the host, and has no ranges of ids',
        'remove uids and gids',
      );
    return undefined;
  }
  if (asked.mode !== NamespaceMode.POD)
    throw bad(
      on,
      `its mode is ${asked.mode === NamespaceMode.CONTAINER ? 'CONTAINER' : String(asked.mode)}`,
      'use mode POD (with one range of uids and one of gids) or NODE',
    );
  for (const [what, mode] of [
    ['pid', options?.pid],
    ['ipc', options?.ipc],
  ] as const) {
    // The root user of a pod cannot use a namespace that belongs to the host's root: no mqueue, no proc. For
    // the network of the host, /sys is bound (mounts.ts).
    if (mode === NamespaceMode.NODE)
      throw bad(on, `it also requests the host's ${what} namespace`, `remove one of the two`);
  }
  return { uids: checkedRange(on, 'uids', asked.uids), gids: checkedRange(on, 'gids', asked.gids) };
}

/**
 * Checks that a container does not request another user namespace: it is always in that of its pod. A
 * container without options agrees. Pure.
 * @throws PortcullisError RUNTIME_BAD_USER_NAMESPACE
 */
export function checkContainerUserNamespace(
  on: string,
  pod: NamespaceOption | undefined,
  container: NamespaceOption | undefined,
): void {
  if (container?.usernsOptions === undefined) return;
  const theirs = planUserNamespace(on, pod);
  const own = planUserNamespace(on, container);
  if (own === undefined && theirs === undefined) return;
  if (own !== undefined && theirs !== undefined && same(own.uids, theirs.uids) && same(own.gids, theirs.gids))
    return;
  throw bad(
    on,
    'the container requests another user namespace than the one of its pod',
    "give the pod's userns_options to each of its containers",
  );
}

/**
 * Returns the value of `ping_group_range` in ids of the host, from where it is written: the range that the
 * pod requests, narrowed to its own groups. Pure. For the kernel, the range "1 0" means no group.
 */
export function hostPingGroups(range: IDMapping, asked: string): string {
  const [low, high] = asked.trim().split(/\s+/).map(Number);
  const last = Math.min(high ?? NaN, range.length - 1, largestPingGroup - range.hostId);
  return low !== undefined && low >= 0 && last >= low
    ? `${range.hostId + low} ${range.hostId + last}`
    : '1 0';
}

function checkedRange(on: string, what: 'uids' | 'gids', ranges: readonly IDMapping[]): IDMapping {
  const [range] = ranges;
  if (range === undefined || ranges.length > 1)
    throw bad(on, `it has ${ranges.length} ranges of ${what}`, `give exactly one range of ${what}`);
  if (range.containerId !== 0)
    throw bad(
      on,
      `its ${what} begin at ${range.containerId} inside the namespace, and root must exist there`,
      'set container_id to 0',
    );
  if (range.length < 1 || range.hostId + range.length > idCount)
    throw bad(
      on,
      `its range of ${range.length} ${what} from ${range.hostId} contains numbers that are not ids`,
      'give a length of at least 1 below 2^32',
    );
  if (range.hostId === 0)
    throw bad(on, `its ${what} begin at the host's root`, 'give a host_id that no user of the host has');
  return range;
}

function same(a: IDMapping, b: IDMapping): boolean {
  return a.hostId === b.hostId && a.containerId === b.containerId && a.length === b.length;
}

function bad(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_USER_NAMESPACE',
    kind: 'invalid',
    attempted: 'use userns_options of',
    on,
    why,
    fix,
  });
}
