import { mkdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { StartProgram } from '../../../base/reactor/index.ts';
import { inOwnPidNamespace } from '../../processes/own-pid-namespace.ts';
import { emptyCgroup, removeCgroupTree } from '../../cgroups/cgroup-removal.ts';
import { readCgroupMounts } from '../../cgroups/cgroups.ts';
import { runCommand } from '../../processes/command.ts';
import { mountPointsBelow, parseMountinfo } from '../../container-mounts/mountinfo.ts';
import type { MountLine } from '../../container-mounts/mountinfo.ts';
import type { RuntimeHandler } from '../runtime-handler.ts';
import type { HandlerFeatures } from '../handler-features.ts';

export interface ProbeDeps {
  readonly startProgram: StartProgram;
  /**
   * Returns a folder for the bundle of this container id. The clean-up after killed daemons knows the folder
   * and the id.
   */
  readonly bundle: (id: string) => string;
  readonly newId: () => string;
  /**
   * Pins namespaces that belong to a user namespace with the host's own ids. Its root can access all paths,
   * and no program runs in it.
   */
  readonly userNamespace: { make(): Promise<string>; release(dir: string): Promise<void> };
  /** A folder on the file system of the image layers. */
  readonly layers: string;
  /** Throws when this kernel or file system cannot map root file systems. */
  readonly checkLayers: (userNamespace: string) => Promise<void>;
  /** How long the runtime may take for a container. */
  readonly timeoutMs?: number;
}

const range = { hostId: 0, containerId: 0, length: 65_536 };
/** The ids of the probe's user namespace, which maps them to themselves. */
export const probeIds = { uids: range, gids: range };
const usualTimeoutMs = 20_000;
/** Folders that commonly have mounts below them. They are bound recursively. */
const mountFolders = ['/dev', '/sys', '/proc', '/run'];

/**
 * Probes the features of a runtime. Creates containers with it, and reads the kernel's mount table of their
 * first process from outside. No container is ever started. The probe does not use the runtime's own
 * `features` command, because old runtimes do not have it.
 * @throws PortcullisError RUNTIME_COMMAND_TIMEOUT if the runtime had no time to answer: then nothing is known
 */
export async function probeRuntime(handler: RuntimeHandler, deps: ProbeDeps): Promise<HandlerFeatures> {
  const own = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
  const source = mountFolders.find((folder) => mountPointsBelow(own, folder).length > 0);
  // Waits for all of them before it fails: a daemon that stops waits only for this.
  const [plain, timeNamespaces, mapped] = await Promise.allSettled([
    source === undefined
      ? false
      : withContainer(handler, deps, { namespaces: [], mounts: [bind(source, ['rro'])] }, (lines) =>
          everyBelow(lines, (line) => line.options.includes('ro')),
        ).catch(absent),
    probeTimeNamespace(handler, deps),
    probeUserNamespace(handler, deps, source),
  ]);
  return {
    recursiveReadOnlyMounts: valueOf(plain),
    timeNamespaces: valueOf(timeNamespaces),
    ...valueOf(mapped),
  };
}

function valueOf<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === 'rejected') throw settled.reason;
  return settled.value;
}

/**
 * Like {@link inOwnPidNamespace} for a script of sh: `$0` is the runtime, `$1` its state, `$2` the bundle,
 * `$3` the id. Prints the namespace that was created.
 */
const makeInTime = `"$0" --root "$1" create --bundle "$2" --pid-file "$2/pid" "$3" &&
  readlink "/proc/$(cat "$2/pid")/ns/time_for_children" > "$2/seen"; "$0" --root "$1" delete --force "$3"`;

/**
 * Probes time namespaces. A runtime that does not know them refuses the configuration; a runtime that creates
 * none is detected. The runtime runs in its own PID namespace: crun 1.8 kills by a pid that its child
 * reported, which is valid in the namespace of the container and hits a process of crun itself (process 2).
 */
async function probeTimeNamespace(handler: RuntimeHandler, deps: ProbeDeps): Promise<boolean> {
  const ownTime = await readlink('/proc/self/ns/time').catch(() => undefined);
  if (ownTime === undefined) return false;
  const id = deps.newId();
  const bundle = deps.bundle(id);
  try {
    await writeProbeBundle(bundle, id, { namespaces: [{ type: 'time' }], mounts: [] });
    // The pids in this state are not valid outside, so no other command of the runtime may find it.
    const state = join(bundle, 'state');
    await mkdir(state, { mode: 0o700 });
    const [program, ...args] = behindRequests(
      inOwnPidNamespace(['/bin/sh', '-c', makeInTime, handler.path, state, bundle, id]),
    );
    await runCommand(deps.startProgram, program, args, limitsOf(deps));
    // The time namespace of the first process is created with its execve: time_namespaces(7).
    const seen = (await readFile(join(bundle, 'seen'), 'utf8')).trim();
    return seen.startsWith('time:') && seen !== ownTime;
  } catch (thrown) {
    return absent(thrown);
  } finally {
    // A runtime that ended itself has not removed it.
    const cgroups = readCgroupMounts();
    await emptyCgroup(cgroups, cgroupOf(id));
    await removeCgroupTree(cgroups, cgroupOf(id));
    await rm(bundle, { recursive: true, force: true });
  }
}

async function probeUserNamespace(
  handler: RuntimeHandler,
  deps: ProbeDeps,
  source: string | undefined,
): Promise<Omit<HandlerFeatures, 'recursiveReadOnlyMounts' | 'timeNamespaces'>> {
  const no = { idmappedMounts: false, userNamespaces: false, bindsKeepSubmounts: false };
  let dir: string | undefined;
  try {
    dir = await deps.userNamespace.make();
    const pins = dir;
    const ids = [{ containerID: range.containerId, hostID: range.hostId, size: range.length }];
    const spec = {
      namespaces: [
        { type: 'user', path: join(pins, 'user') },
        { type: 'network', path: join(pins, 'net') },
        { type: 'ipc', path: join(pins, 'ipc') },
        { type: 'uts', path: join(pins, 'uts') },
      ],
      ...(handler.kind === 'crun' && { ids }),
      mounts: [
        { ...bind(deps.layers, ['ro']), destination: '/mapped', uidMappings: ids, gidMappings: ids },
        ...(source === undefined ? [] : [bind(source, ['rw'])]),
      ],
    };
    const seen = await withContainer(handler, deps, spec, (lines) => ({
      idmappedMounts: lines.some((line) => line.target === '/mapped' && line.options.includes('idmapped')),
      bindsKeepSubmounts: everyBelow(lines, () => true),
    }));
    if (!seen.idmappedMounts)
      return {
        ...no,
        whyNoUserNamespaces: `${handler.kind} ${handler.version} silently ignores the id mappings of mounts`,
      };
    const layers = await deps.checkLayers(join(pins, 'user')).then(() => '', reasonOf);
    return { ...seen, userNamespaces: layers === '', whyNoUserNamespaces: layers };
  } catch (cause) {
    absent(cause);
    return { ...no, whyNoUserNamespaces: reasonOf(cause) };
  } finally {
    if (dir !== undefined) await deps.userNamespace.release(dir);
  }
}

interface ProbeSpec {
  readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
  readonly ids?: readonly unknown[];
  readonly mounts: readonly object[];
}

const probed = '/probed';

function bind(source: string, options: readonly string[]): object {
  return { destination: probed, type: 'bind', source, options: ['rbind', 'rprivate', ...options] };
}

/** Reports whether there are mounts below the probed one, and all of them satisfy `is`. */
function everyBelow(lines: readonly MountLine[], is: (line: MountLine) => boolean): boolean {
  const below = lines.filter((line) => line.target.startsWith(`${probed}/`));
  return below.length > 0 && below.every(is);
}

/** Creates a container, passes its mounts on, and removes it. The container contains no program. */
async function withContainer<T>(
  handler: RuntimeHandler,
  deps: ProbeDeps,
  spec: ProbeSpec,
  look: (lines: readonly MountLine[], pid: number) => T | Promise<T>,
): Promise<T> {
  const id = deps.newId();
  const bundle = deps.bundle(id);
  try {
    await writeProbeBundle(bundle, id, spec);
    const pidFile = join(bundle, 'pid');
    const args = [...handler.globalArgs, 'create', '--bundle', bundle, '--pid-file', pidFile, id];
    const [program, ...words] = behindRequests([handler.path, ...args]);
    const { exitCode, stderr } = await runCommand(deps.startProgram, program, words, limitsOf(deps));
    if (exitCode !== 0) throw new Error(`${handler.path} create: ${stderr.trim().slice(0, 500)}`);
    const pid = Number(await readFile(pidFile, 'utf8'));
    return await look(parseMountinfo(await readFile(`/proc/${pid}/mountinfo`, 'utf8')), pid);
  } finally {
    await handler.delete(id).catch(() => undefined);
    await rm(bundle, { recursive: true, force: true });
  }
}

function limitsOf({ timeoutMs = usualTimeoutMs }: ProbeDeps): { readonly timeoutMs: number } {
  return { timeoutMs };
}

/** Returns that a feature is missing. @throws the error if the runtime had no time to answer */
function absent(thrown: unknown): false {
  if (isPortcullisError(thrown) && thrown.code === 'RUNTIME_COMMAND_TIMEOUT') throw thrown;
  return false;
}

/**
 * Runs a command with a lower priority: the first requests after a start need the processors. Not with the
 * lowest one, because containers of a handler whose features are unknown wait for the probe, and on a busy
 * node it would not end.
 */
function behindRequests(command: readonly string[]): readonly [string, ...string[]] {
  const script = 'command -v nice >/dev/null && exec nice -n 5 "$@"; exec "$@"';
  return ['/bin/sh', '-c', script, 'sh', ...command];
}

const cgroupOf = (id: string): string => `/portcullis/${id}`;

async function writeProbeBundle(bundle: string, id: string, spec: ProbeSpec): Promise<void> {
  const rootfs = join(bundle, 'rootfs');
  await mkdir(rootfs, { recursive: true, mode: 0o700 });
  await writeFile(join(rootfs, 'none'), '', { mode: 0o700 });
  await writeFile(join(bundle, 'config.json'), JSON.stringify(configOf(id, rootfs, spec)), { mode: 0o600 });
}

function configOf(id: string, rootfs: string, spec: ProbeSpec): object {
  return {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args: ['/none'], cwd: '/', env: ['PATH=/'], noNewPrivileges: true },
    root: { path: rootfs },
    // crun needs a /dev to create its devices in.
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
      ...spec.mounts,
    ],
    linux: {
      namespaces: [{ type: 'mount' }, { type: 'pid' }, ...spec.namespaces],
      ...(spec.ids !== undefined && { uidMappings: spec.ids, gidMappings: spec.ids }),
      cgroupsPath: cgroupOf(id),
    },
  };
}
