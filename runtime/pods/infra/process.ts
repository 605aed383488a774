import { readFile, rename, rm, writeFile, chmod } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { processIdentity, sameProcess } from '../../../base/process/index.ts';
import type { Reactor, StartProgram } from '../../../base/reactor/index.ts';
import { makeFolder } from '../../../base/storage/index.ts';
import { endProcessesWithArgument, signalProcess, watchProcess } from '../../processes/processes.ts';
import { containerCgroup, systemdAnnotations } from '../../cgroups/cgroup-driver.ts';
import { emptyCgroup, removeCgroupTree } from '../../cgroups/cgroup-removal.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import { runCommand } from '../../processes/command.ts';
import { createSlots } from '../../processes/slots.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import { shimAnnotations } from '../../oci/shim-annotations.ts';
import type { ShimTasks } from '../../shim/tasks.ts';
import { podTaskIn } from '../effects.ts';
import type { SandboxRecord } from '../record.ts';
import { planSandbox } from '../validate.ts';
import { infraProgram } from './program.ts';
import type { InfraEffects } from '../sharing.ts';
import { infraSpec, programPath } from './spec.ts';

const SIGKILL = 9;

/**
 * Creates the processes that hold shared PID namespaces, one for each pod that has one, started by the pod's
 * own OCI runtime without a monitor. `start` throws RUNTIME_INFRA_FAILED, or RUNTIME_UNSUPPORTED for a
 * handler that cannot join namespaces.
 */
export async function openInfraProcesses(parts: {
  readonly stateDir: string;
  readonly startProgram: StartProgram;
  readonly reactor: Pick<Reactor, 'onExit'>;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly cgroups: CgroupMounts;
  readonly oomScoreFloor: number;
  /** Loads and returns the AppArmor profile of the process; undefined where the kernel has no AppArmor. */
  readonly apparmorProfile: () => Promise<string | undefined>;
}): Promise<InfraEffects> {
  const { startProgram, handlers, cgroups } = parts;
  const root = join(parts.stateDir, 'infra');
  // One at a time: all files have fixed names, so that the next daemon takes over everything that a killed
  // daemon left.
  const providing = pLimit(1);
  const slots = createSlots(availableParallelism());
  await provideProgram(root);
  const tasksOf = ({ runtimeHandler }: Pick<SandboxRecord, 'runtimeHandler'>): ShimTasks | undefined =>
    handlers.get(runtimeHandler)?.tasks;
  const folderOf = (record: SandboxRecord): string =>
    tasksOf(record) === undefined
      ? join(parts.stateDir, 'pods', record.id, 'infra')
      : podTaskIn(parts.stateDir, record.id);
  return {
    isRequired: (runtimeHandler) => tasksOf({ runtimeHandler }) !== undefined,
    start: async (record) => {
      const handler = handlers.get(record.runtimeHandler);
      const plan = planSandbox(record.config);
      const tasks = handler?.tasks;
      if (handler === undefined || (handler.kind === 'other' && (tasks === undefined || plan.sharedPids)))
        throw unsupported(record, handler);
      const folder = folderOf(record);
      await Promise.all([providing(() => provideProgram(root)), makeFolder(folder)]);
      const cgroup = containerCgroup(record.cgroupParent, record.id);
      const spec = infraSpec({
        root,
        namespacesDir: record.namespacesDir,
        joined: [
          ...(plan.hostNetwork ? [] : (['network', 'uts'] as const)),
          ...(plan.hostIpc ? [] : (['ipc'] as const)),
          ...(plan.userNamespace === undefined ? [] : (['user'] as const)),
        ],
        cgroupsPath: cgroup.specPath,
        annotations: {
          'dev.portcullis.sandbox': record.id,
          ...(cgroup.systemd && systemdAnnotations),
          ...(tasks !== undefined && shimAnnotations('sandbox', record.id)),
        },
        largestId:
          plan.userNamespace === undefined
            ? Infinity
            : Math.min(plan.userNamespace.uids.length, plan.userNamespace.gids.length) - 1,
        oomScoreFloor: parts.oomScoreFloor,
        apparmorProfile: await parts.apparmorProfile(),
      });
      await writeFile(join(folder, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
      if (tasks !== undefined)
        return slots
          .run(() => tasks.startPod(record.id, folder, cgroup.systemd))
          .catch((cause: unknown) => {
            throw failed(record, reasonOf(cause), 'shim');
          });
      const pidFile = join(folder, 'pid');
      const args = [
        ...(cgroup.systemd ? ['--systemd-cgroup'] : []),
        'run',
        '--detach',
        '--bundle',
        folder,
        '--pid-file',
        pidFile,
        record.id,
      ];
      const said = await slots.run(() =>
        runCommand(startProgram, handler.path, [...handler.globalArgs, ...args]),
      );
      if (said.exitCode !== 0)
        throw failed(record, `${handler.path} said: ${said.stderr.trim().slice(0, 2_000)}`);
      const identity = processIdentity(Number(await readFile(pidFile, 'utf8')));
      if (identity === undefined) throw failed(record, 'it ended at once');
      return identity;
    },
    end: async (record) => {
      const process = record.infra?.process;
      const tasks = tasksOf(record);
      if (tasks !== undefined) await tasks.endPod(record.id, folderOf(record));
      // If a daemon was killed while it started the process, the process has the folder of the bundle among
      // its arguments.
      if (process === undefined) await endProcessesWithArgument(folderOf(record));
      else signalProcess(process, SIGKILL);
      const { path } = containerCgroup(record.cgroupParent, record.id);
      await emptyCgroup(cgroups, path);
      const handler = handlers.get(record.runtimeHandler);
      if (tasks === undefined) await handler?.delete(record.id, true);
      else await handler?.clear?.(record.id, folderOf(record));
      await removeCgroupTree(cgroups, path);
      await rm(folderOf(record), { recursive: true, force: true });
    },
    isAlive: sameProcess,
    watch: (process, report) => watchProcess(parts.reactor, process, report),
  };
}

/**
 * Writes the program and the folders to mount on, unless they exist with the correct bytes. The bytes are
 * compared each time, which costs less than a digest for some hundred bytes. The file is readable and
 * executable by all, because the program runs as an unprivileged user; the folder above belongs to root.
 */
async function provideProgram(root: string): Promise<void> {
  const bytes = infraProgram(process.arch === 'arm64' ? 'arm64' : 'x64');
  const file = join(root, programPath);
  const existing = await readFile(file).catch(() => undefined);
  if (existing !== undefined && bytes.equals(existing)) return;
  for (const folder of [root, join(root, 'proc'), join(root, 'dev')]) {
    await makeFolder(folder, 0o755);
    await chmod(folder, 0o755);
  }
  const draft = `${file}.new`;
  await writeFile(draft, bytes, { mode: 0o500 });
  await chmod(draft, 0o555);
  await rename(draft, file);
}

function unsupported(record: SandboxRecord, handler: RuntimeHandler | undefined): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_UNSUPPORTED',
    kind: 'unimplemented',
    attempted: 'share a PID namespace in pod',
    on: record.name,
    why:
      handler === undefined
        ? 'its runtime handler is no longer configured'
        : `the runtime handler ${handler.name} cannot join namespaces`,
    fix: 'remove shareProcessNamespace (namespace_options.pid: CONTAINER), or use a handler that runs crun or runc',
  });
}

function failed(record: SandboxRecord, why: string, what: 'holder' | 'shim' = 'holder'): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_INFRA_FAILED',
    kind: 'internal',
    attempted:
      what === 'shim' ? 'start shim of pod' : 'start the process that holds the PID namespace of pod',
    on: record.name,
    why,
    fix:
      what === 'shim'
        ? 'correct the cause that the shim names; check whether the programs that it starts are installed'
        : 'correct the cause that the runtime names; `portcullis doctor` checks the runtime',
  });
}
