import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { runCommand } from '../processes/command.ts';
import { TaskStatus } from '../shim/contract.types.ts';
import type { EventSink } from '../shim/event-sink.ts';
import { isRunscShim, releaseRunsc, shimOptions } from '../shim/options.ts';
import type { ShimConfig } from '../shim/options.ts';
import { deleteDeadTask } from '../shim/launch.ts';
import { shimNamespace } from '../shim/task-api.ts';
import { createShimTasks } from '../shim/tasks.ts';
import { unusable } from './runtime-handler.ts';
import { namesShortage } from './runtime-message.ts';
import type { ObservedStatus, RuntimeHandler } from './runtime-handler.ts';

const statusOf: Readonly<Record<number, ObservedStatus>> = {
  [TaskStatus.CREATED]: 'created',
  [TaskStatus.RUNNING]: 'running',
  [TaskStatus.STOPPED]: 'stopped',
  [TaskStatus.PAUSED]: 'paused',
  [TaskStatus.PAUSING]: 'paused',
};

const usesNodeKernel = (path: string): boolean => basename(path).startsWith('containerd-shim-runc-');

/**
 * Returns the OCI runtime that a shim runs; undefined: it is not known. containerd-shim-runc-v2 looks for
 * runc in PATH, as this does.
 */
export function runtimeBehindShim({ path, runtimePath }: ShimConfig): string | undefined {
  if (runtimePath !== undefined || !usesNodeKernel(path)) return runtimePath;
  const folders = (process.env['PATH'] ?? '').split(':');
  return folders.map((folder) => join(folder, 'runc')).find((file) => existsSync(file)) ?? 'runc';
}

/**
 * Only containerd-shim-runc-v2 is known to run containers on the kernel of the node. gVisor filters calls if
 * its configuration enables this, as the configuration that is written here does.
 */
function guestKernelOf(
  handler: string,
  { path, configPath }: ShimConfig,
): Pick<RuntimeHandler, 'guestKernel'> {
  if (usesNodeKernel(path)) return {};
  const filtersCalls = isRunscShim(path) && configPath === undefined;
  return { guestKernel: { handler, filtersCalls } };
}

/**
 * Throws the error of a shim. If its message names what the node lacks, the request is no reason, and neither
 * is the shim: shims give the failures of their OCI runtime no status of their own.
 */
function withShortage(thrown: unknown): never {
  if (!isPortcullisError(thrown) || thrown.kind !== 'internal') throw thrown;
  const { failure } = thrown;
  const isReadOnly = /read-only file system/iu.test(failure.why);
  if (!isReadOnly && !namesShortage(failure.why)) throw thrown;
  throw new PortcullisError({
    ...failure,
    kind: isReadOnly ? 'unavailable' : 'exhausted',
    fix: isReadOnly
      ? 'remount the file system read-write, and repeat the request'
      : 'free what the message names, such as space on a disk, and repeat the request',
    cause: thrown,
  });
}

/**
 * Opens a runtime handler whose program is a shim of containerd.
 * @param stateDir a folder for the state of this handler alone
 * @param input.bundle returns the folder of a container
 * @param input.events where its shims send their events
 * @throws PortcullisError RUNTIME_HANDLER_UNUSABLE when the program does not answer `-v`
 */
export async function openShimHandler(input: {
  readonly startProgram: StartProgram;
  readonly name: string;
  readonly config: ShimConfig;
  readonly stateDir: string;
  readonly bundle: (id: string) => string;
  readonly events: EventSink;
  readonly log: Logger;
}): Promise<RuntimeHandler> {
  const { startProgram, name, config, stateDir, bundle } = input;
  const { path } = config;
  const version = await runCommand(startProgram, path, ['-v']).catch((cause: unknown) => {
    throw unusable(name, path, reasonOf(cause));
  });
  if (version.exitCode !== 0) throw unusable(name, path, version.stderr.trim().slice(0, 2_000));
  const program = {
    startProgram,
    path,
    runtimeFolder: config.runtimePath === undefined ? '' : dirname(config.runtimePath),
    events: input.events,
  };
  const tasks = createShimTasks({
    program,
    options: await shimOptions(config, stateDir),
    signalsUnstarted: !isRunscShim(path),
    idle: () => releaseRunsc(stateDir),
    log: input.log,
  });
  const observe = async (id: string): Promise<ObservedStatus> => {
    const status = await tasks.status(id, bundle(id));
    return status === 'absent' ? 'absent' : (statusOf[status] ?? 'stopped');
  };
  return {
    name,
    path,
    program: path,
    // The host does not see the mounts of a sandbox or a virtual machine.
    kind: 'other',
    version: /version:?\s+(\S+)/i.exec(version.stdout)?.[1] ?? '0',
    globalArgs: [],
    stateDir: join(stateDir, 'tasks'),
    tasks,
    ...guestKernelOf(name, config),
    start: (id, _cutOff, signal) => tasks.start(id, bundle(id), signal),
    observe,
    isStarted: async (id) => (await observe(id)) === 'running',
    delete: (id) => tasks.delete(id, bundle(id)).catch(withShortage),
    clear: async (id, folder = bundle(id)) => {
      if (!existsSync(join(stateDir, shimNamespace, id))) return;
      await deleteDeadTask(program, id, folder).catch((cause: unknown) =>
        input.log.warn({ container: id, cause: reasonOf(cause) }, 'the state of a runtime is not removed'),
      );
    },
    update: (id, resources, signal) => {
      const typeUrl = 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources';
      const value = Buffer.from(JSON.stringify(resources));
      return tasks.update(id, bundle(id), { typeUrl, value }, signal).catch(withShortage);
    },
  };
}
