import { capabilityNames } from '../../../base/capabilities/index.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { namespaceKinds } from './rights.ts';
import type {
  FileRights,
  MountRights,
  NamespaceKind,
  ProcessRights,
  Rights,
  ThreadRights,
} from './rights.ts';

/** A right that a process of a checkpoint has, but its specification does not grant. */
export interface Excess {
  /** `more`: the specification does not grant it. `unknown`: it is not known which rights it grants. */
  readonly kind: 'more' | 'unknown';
  /** One clause, with the process. */
  readonly what: string;
}

/** The rights that the processes of a container may have. */
export interface Bound {
  readonly spec: Pick<OciSpec, 'process' | 'mounts' | 'linux'>;
  /** The filters that every thread must have, the oldest first. Undefined: none. */
  readonly filters: readonly Uint8Array[] | undefined;
}

/** Settings of securebits that remove rights: capabilities(7), SECBIT_NOROOT and its lock. */
const harmlessSecureBits = 0b11;
/** SCHED_OTHER, SCHED_BATCH and SCHED_IDLE. */
const plainPolicies = new Set([0, 3, 5]);
const fileTypes = { mask: 0o170000, regular: 0o100000, folder: 0o040000, device: 0o020000 };
/** Devices that every container has: runtime-spec, config-linux.md#default-devices. */
const defaultDevices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'].map((name) => `/dev/${name}`);
/** Resources of getrlimit(2) by their number. */
export const resources = [
  ...['CPU', 'FSIZE', 'DATA', 'STACK', 'CORE', 'RSS', 'NPROC', 'NOFILE'],
  ...['MEMLOCK', 'AS', 'LOCKS', 'SIGPENDING', 'MSGQUEUE', 'NICE', 'RTPRIO', 'RTTIME'],
].map((name) => `RLIMIT_${name}`);
const ociNamespaces: Readonly<Record<NamespaceKind, string>> = {
  ...{ pid: 'pid', net: 'network', ipc: 'ipc', uts: 'uts' },
  ...{ mnt: 'mount', user: 'user', cgroup: 'cgroup', time: 'time' },
};

/**
 * Compares the rights of each process and thread in the images of a checkpoint with the specification of its
 * container. Pure. An empty list: no process has more rights.
 */
export function excessOf(rights: Rights, bound: Bound): Excess[] {
  return [
    ...rights.unread.map((name) => unknown(`the image ${name} is of an unsupported kind`)),
    ...rights.threads.flatMap((thread) => ofThread(thread, bound)),
    ...rights.processes.flatMap((process) => ofProcess(process, rights, bound)),
    ...rights.files.flatMap((file) => ofFile(file, bound)),
    ...rights.mounts.flatMap((mount) => ofMount(mount, bound)),
  ];
}

function ofThread(thread: ThreadRights, { spec, filters }: Bound): Excess[] {
  const { process } = spec;
  const who =
    thread.tid === undefined ? `process ${thread.pid}` : `thread ${thread.tid} of process ${thread.pid}`;
  const own = capabilitiesOf(process);
  const may = (name: string): boolean => (own.permitted & bitOf(name)) !== 0n;
  const found: Excess[] = [];
  const check = (fits: boolean, what: string): void => {
    if (!fits) found.push(more(`${who} has ${what}`));
  };
  const { uid, gid, additionalGids } = process.user;
  for (const each of new Set(thread.uids)) check(each === uid || may('CAP_SETUID'), `the user ${each}`);
  const groups = new Set([gid, ...additionalGids]);
  for (const each of new Set([...thread.gids, ...thread.groups]))
    check(groups.has(each) || may('CAP_SETGID'), `the group ${each}`);
  const { inheritable, permitted, effective, bounding, ambient } = thread.capabilities;
  const within = (held: bigint, allowed: bigint, set: string): void =>
    check(
      (held & ~allowed) === 0n,
      `${set} capabilities beyond its specification: ${namesOf(held & ~allowed)}`,
    );
  within(bounding, own.bounding, 'bounding');
  within(permitted, own.permitted, 'permitted');
  within(effective, own.permitted, 'effective');
  within(inheritable, own.inheritable | own.permitted, 'inheritable');
  within(ambient, own.ambient | own.permitted, 'ambient');
  check(thread.noNewPrivileges || !process.noNewPrivileges, 'no bit no_new_privs');
  check(
    (thread.secureBits & ~harmlessSecureBits) === 0 || may('CAP_SETPCAP'),
    `securebits ${thread.secureBits}`,
  );
  const label = process.apparmorProfile ?? process.selinuxLabel;
  check(
    label === undefined || label === 'unconfined'
      ? isUnconfined(thread.label)
      : thread.label !== undefined && sortedStack(thread.label) === sortedStack(label),
    `the label ${thread.label ?? '(none)'} instead of ${label ?? '(none)'}`,
  );
  check(thread.nice >= 0 || may('CAP_SYS_NICE'), `the nice value ${thread.nice}`);
  check(plainPolicies.has(thread.policy) || may('CAP_SYS_NICE'), `the scheduling policy ${thread.policy}`);
  if (filters !== undefined)
    check(thread.strictCalls || beginsWith(thread.filters ?? [], filters), 'other seccomp filters');
  return found;
}

function ofProcess(process: ProcessRights, { ofNode }: Rights, { spec }: Bound): Excess[] {
  const who = `process ${process.pid}`;
  const { permitted } = capabilitiesOf(spec.process);
  const mayRaise = (permitted & bitOf('CAP_SYS_RESOURCE')) !== 0n;
  const found: Excess[] = [];
  for (const { type, hard } of spec.process.rlimits) {
    const held = process.limits[resources.indexOf(type)];
    if (held === undefined) found.push(unknown(`${who} has no ${type}`));
    else if (held > BigInt(hard) && !mayRaise) found.push(more(`${who} has ${type} ${held}`));
  }
  const adjustment = spec.process.oomScoreAdj;
  if (adjustment !== undefined && process.oomScoreAdj < adjustment && !mayRaise)
    found.push(more(`${who} has oom_score_adj ${process.oomScoreAdj}`));
  for (const kind of namespaceKinds) {
    const isOwn = spec.linux.namespaces.some(({ type }) => type === ociNamespaces[kind]);
    const held = process.namespaces[kind];
    if (isOwn && (held === undefined || held === ofNode[kind]))
      found.push(more(`${who} is in the ${ociNamespaces[kind]} namespace of the node`));
    // In a separate user namespace, a process has every capability.
    if (!isOwn && kind === 'user' && held !== ofNode[kind])
      found.push(more(`${who} is in a separate user namespace`));
  }
  return found;
}

function ofFile({ id, kind, regular }: FileRights, { spec }: Bound): Excess[] {
  if (regular === undefined)
    return kind.startsWith('type ')
      ? [unknown(`the descriptor ${id} is of the unsupported kind ${kind}`)]
      : [];
  const { name, mode, writable, external } = regular;
  const shown = JSON.stringify(name.slice(0, 200));
  if (external) return [unknown(`the file ${shown} is outside the container`)];
  if (!name.startsWith('/') || name.split('/').includes('..'))
    return [more(`the file ${shown} is not a plain path`)];
  const type = mode & fileTypes.mask;
  if (type === fileTypes.device) {
    const devices = [...defaultDevices, ...spec.linux.devices.map(({ path }) => path)];
    return devices.includes(name) ? [] : [more(`the device ${shown} is open`)];
  }
  if (type !== fileTypes.regular && type !== fileTypes.folder)
    return [unknown(`the file ${shown} has the mode ${mode.toString(8)}`)];
  return writable && /^\/(?:proc|sys)\//.test(name)
    ? [unknown(`the file ${shown} of the kernel is writable`)]
    : [];
}

function ofMount({ mountpoint, external, readOnly }: MountRights, { spec }: Bound): Excess[] {
  const own = spec.mounts.find(({ destination }) => destination === mountpoint);
  const shown = JSON.stringify(mountpoint.slice(0, 200));
  if (external !== undefined && mountpoint !== '/' && !isGiven(mountpoint, external, spec))
    return [more(`the mount ${shown} comes from outside`)];
  if (own?.options.some((option) => option === 'ro' || option === 'rro') === true && !readOnly)
    return [more(`the mount ${shown} is writable`)];
  return [];
}

/** Masked and read-only paths are bound from the container itself, or from /dev/null. */
function isGiven(mountpoint: string, key: string, { mounts, linux }: Bound['spec']): boolean {
  if (linux.maskedPaths.includes(mountpoint)) return ['', mountpoint, '/dev/null'].includes(key);
  const places = [...mounts.map(({ destination }) => destination), ...linux.readonlyPaths];
  return places.includes(mountpoint) && (key === '' || key === mountpoint);
}

function capabilitiesOf({ capabilities }: OciSpec['process']): ThreadRights['capabilities'] {
  const sum = (names: readonly string[]): bigint => names.reduce((bits, name) => bits | bitOf(name), 0n);
  const { inheritable, permitted, effective, bounding, ambient } = capabilities;
  return {
    inheritable: sum(inheritable),
    permitted: sum(permitted),
    effective: sum(effective),
    bounding: sum(bounding),
    ambient: sum(ambient),
  };
}

function bitOf(name: string): bigint {
  const index = capabilityNames.findIndex((known) => `CAP_${known}` === name);
  return index === -1 ? 0n : 1n << BigInt(index);
}

function namesOf(bits: bigint): string {
  const names = capabilityNames.filter((_, index) => (bits >> BigInt(index)) & 1n);
  return names.length > 0 ? names.join(', ') : `0x${bits.toString(16)}`;
}

function beginsWith(chain: readonly Uint8Array[], oldest: readonly Uint8Array[]): boolean {
  return oldest.every(
    (filter, index) => chain[index] !== undefined && Buffer.compare(chain[index], filter) === 0,
  );
}

function isUnconfined(label: string | undefined): boolean {
  return label === undefined || label === 'unconfined';
}

/** The kernel lists the profiles of a stack by their names, in whatever order they were stacked. */
function sortedStack(label: string): string {
  return label.split('//&').toSorted().join('//&');
}

const more = (what: string): Excess => ({ kind: 'more', what });
const unknown = (what: string): Excess => ({ kind: 'unknown', what });
