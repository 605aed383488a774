import { constants } from 'node:fs';
import { lstat, mkdir, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { attempt, isPortcullisError, meansDiskFull, meansGone, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { KeyedQueue } from '../../base/queues/index.ts';
import { cgroupProcesses } from '../cgroups/cgroups.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import { resumeCgroup } from '../cgroups/cgroup-thaw.ts';
import { bytesOf } from '../config/bytes.ts';
import type { DaemonConfig } from '../config/types.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { newId } from '../state/identity.ts';
import { settleActs } from '../state/settle.ts';
import type { Unsettled } from '../state/settle.ts';
import { askServer, createBoundedFiles, unanswered } from './bounded-files.ts';
import { captureScript, captureSteps, interrupted } from './capture-script.ts';
import { endCapture, runScript } from './capture.ts';
import type { Limit } from './capture.ts';
import { freeBytes, openDestination, partialPrefix } from './destination.ts';
import type { Destination } from './destination.ts';
import type { Excess } from './images/compare.ts';
import { configDump, specDump } from './documents.ts';
import { checkpointFailed } from './errors.ts';
import { writeArchive, writeDeletedFiles, writeLog } from './archive.ts';
import type { DeletedFiles } from './archive.ts';
import { writeReport } from './rights-report.ts';
import { folderBytes, memoryBytes } from './sizes.ts';
import { createCheckpointProbe } from './support.ts';

/** Writes checkpoints of running containers, for an analysis. */
export interface Checkpoints {
  /**
   * Writes the processes, the changed files and the log of a container into an archive at `location`. The
   * container continues.
   * @param seconds 0: the limit of the configuration
   * @param signal ends it, as the limits do
   * @throws PortcullisError RUNTIME_CHECKPOINT_*
   */
  write(record: ContainerRecord, location: string, seconds: number, signal?: AbortSignal): Promise<void>;
  /**
   * Ends and removes the checkpoints that an earlier run left unfinished, and thaws the containers that it
   * froze.
   */
  recover(): Promise<readonly Unsettled[]>;
}

export interface CheckpointDeps {
  readonly config: Pick<DaemonConfig, 'root'> & { readonly checkpoint: DaemonConfig['checkpoint'] };
  readonly startProgram: StartProgram;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly cgroups: CgroupMounts;
  /** The record of a container as it is now. */
  readonly container: (id: string) => ContainerRecord | undefined;
  /** Whether a stop or a removal waits for the container, which cannot end while it is frozen. */
  readonly isStopping: (id: string) => boolean;
  readonly sandbox: (id: string) => SandboxRecord | undefined;
  /** Returns the path of the cgroup that the runtime freezes, below the hierarchies. */
  readonly cgroupOf: (record: ContainerRecord) => string;
  readonly bundle: (id: string) => string;
  readonly writableLayer: (id: string) => string;
  readonly lock: KeyedQueue['run'];
  readonly paths: Pick<HostPaths, 'removeFile'>;
  readonly log: Logger;
}

/** The data that the next start needs to undo an interrupted checkpoint. */
interface Plan {
  readonly id: string;
  readonly cgroup: string;
  readonly partial: string;
}

/** Returns the folder of the images of containers that are being restored. */
export function restoresIn(root: string): string {
  return join(root, 'restores');
}

const planFile = 'plan.json';
const blockBytes = 512;

/**
 * Creates the service. It writes one checkpoint at a time, so that another checkpoint does not use the free
 * space that it found.
 */
export function createCheckpoints(deps: CheckpointDeps): Checkpoints {
  const work = join(deps.config.root, 'checkpoints');
  const whyNot = createCheckpointProbe(deps.startProgram);
  const files = createBoundedFiles();
  let busy = false;
  const write = async (
    record: ContainerRecord,
    location: string,
    seconds: number,
    signal: AbortSignal | undefined,
  ): Promise<void> => {
    const { checkpoint } = deps.config;
    if (!Number.isInteger(seconds) || seconds < 0)
      throw refused(record, 'invalid', 'the timeout is negative', 'send a number of seconds, or 0');
    const handler = deps.handlers.get(record.runtimeHandler);
    const why = handler === undefined ? 'its runtime handler is no longer configured' : await whyNot(handler);
    if (handler === undefined || why !== undefined)
      throw refused(
        record,
        'precondition',
        why ?? '',
        'use runc as the handler, and install a criu that passes `criu check`',
      );
    const token = newId();
    const most = Math.min(seconds === 0 ? checkpoint.timeout : seconds, checkpoint.timeout);
    const deadline = performance.now() + most * 1_000;
    const destination = await openDestination(location, checkpoint.folders, { token, deadline, files });
    const folder = join(work, token);
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const cgroup = deps.cgroupOf(record);
      const plan: Plan = { id: record.id, cgroup, partial: destination.partial };
      // The plan is durable before any step that it describes.
      await writeFile(join(folder, planFile), JSON.stringify(plan), { mode: 0o600, flush: true });
      // Before the container is frozen: it is not frozen for an archive that cannot be written.
      const archive = await destination.create();
      await capture(deps, { record, handler, folder, destination, archive, cgroup, deadline, signal });
    } finally {
      try {
        await resumeCgroup(deps.cgroups, deps.cgroupOf(record));
      } finally {
        await destination.close();
      }
      // Last. If one of these steps fails, or the daemon is killed, the plan stays, and the next start thaws
      // the container and removes the incomplete archive.
      await rm(folder, { recursive: true, force: true });
    }
  };
  return {
    write: async (record, location, seconds, signal) => {
      const refuseSecond = (): void => {
        if (busy)
          throw refused(
            record,
            'exhausted',
            'another checkpoint is being written',
            'repeat the request later',
          );
      };
      refuseSecond();
      // A removal takes this lock, too; a stop does not.
      await deps.lock(`container ${record.id}`, async () => {
        // Only now, because a checkpoint that waits for its container must not block other checkpoints.
        refuseSecond();
        busy = true;
        try {
          const current = deps.container(record.id);
          if (current?.phase !== 'running')
            throw refused(record, 'precondition', 'the container is not running', 'start it first');
          signal?.throwIfAborted();
          await write(current, location, seconds, signal).catch(asFailed(current));
        } finally {
          busy = false;
        }
      });
    },
    recover: async () => {
      let names: readonly string[] = [];
      const list = async (): Promise<void> => {
        names = await readdir(work).catch(ifAbsent([]));
      };
      const unlisted = await settleActs([{ on: work, act: list }]);
      // A container whose restore was interrupted has been removed.
      const restores = restoresIn(deps.config.root);
      const removed = await settleActs([
        { on: restores, act: () => rm(restores, { recursive: true, force: true }) },
      ]);
      const undone = await settleActs(
        names.map((name) => ({ on: join(work, name), act: () => undo(deps, join(work, name)) })),
      );
      return [...unlisted, ...removed, ...undone];
    },
  };
}

interface Capture {
  readonly record: ContainerRecord;
  readonly handler: RuntimeHandler;
  /** The folder of the checkpoint, which is removed afterwards. */
  readonly folder: string;
  readonly destination: Destination;
  /** The archive, which has no name yet. */
  readonly archive: FileHandle;
  readonly cgroup: string;
  /** As `performance.now()`, which a change of the clock does not affect. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
}

async function capture(deps: CheckpointDeps, input: Capture): Promise<void> {
  const { record, handler, folder, destination, archive } = input;
  const most = bytesOf(deps.config.checkpoint.maxSize) ?? 0;
  const keepFree = bytesOf(deps.config.checkpoint.keepFree) ?? 0;
  const memory = await memoryBytes(await cgroupProcesses(deps.cgroups, input.cgroup));
  if (memory > most)
    throw tooLarge(record, `its processes have ${memory} bytes of memory, and the maximum is ${most}`);
  if ((await freeBytes(folder)) < memory + keepFree || (await destination.free()) < memory + keepFree)
    throw refused(record, 'exhausted', noSpace, 'free space on the disks of the state and of the archive');
  const limit: Limit = async () => {
    if (performance.now() > input.deadline) return overdue;
    if (input.signal?.aborted === true) return cancelled;
    // A frozen container does not receive the stop signal, and would be killed without it.
    if (deps.isStopping(record.id)) return stopped;
    if ((await folderBytes(folder)) > most) return `it is larger than ${most} bytes`;
    if ((await freeBytes(folder)) < keepFree || (await destination.free()) < keepFree) return noSpace;
    return undefined;
  };
  await mkdir(join(folder, 'checkpoint'), { mode: 0o700 });
  await mkdir(join(folder, 'work'), { mode: 0o700 });
  const layer = deps.writableLayer(record.id);
  const hasLayer = await lstat(layer).then(
    (found) => found.isDirectory(),
    () => false,
  );
  const blocks = String(Math.ceil(most / blockBytes));
  try {
    const ran = await runScript({
      startProgram: deps.startProgram,
      script: captureScript,
      folder,
      // Not the sealed copy, which exists only as long as this process: the container must be thawed also
      // after the end of the daemon.
      args: [handler.path, handler.stateDir, record.id, hasLayer ? layer : '', blocks],
      output: null,
      limit,
    });
    if (ran.ended !== undefined) throw ended(record, ran.ended);
    if (ran.exitCode !== 0) throw await failed(record, folder, ran.exitCode);
  } finally {
    // The script has thawed it, unless something ended the script.
    await resumeCgroup(deps.cgroups, input.cgroup);
  }
  const limited = (why: string): Error => ended(record, why);
  const excess = await describe(deps, input, { limit, limited });
  await writeArchive({ ...deps, folder, destination, archive, blocks, limit }, limited);
  const bytes = await folderBytes(folder);
  const beyond = excess.slice(0, 10).map(({ what }) => what);
  deps.log.info({ container: record.id, bytes, excess: excess.length, beyond }, 'a checkpoint was written');
}

/**
 * Writes the documents of the archive. Returns the rights that a restore would grant beyond the
 * specification.
 */
async function describe(
  deps: CheckpointDeps,
  { record, handler, folder }: Capture,
  { limit, limited }: Pick<DeletedFiles, 'limit' | 'limited'>,
): Promise<readonly Excess[]> {
  const input = {
    record,
    sandbox: deps.sandbox(record.sandboxId),
    runtime: handler.kind,
    spec: await readFile(join(deps.bundle(record.id), 'config.json'), 'utf8'),
    now: Date.now(),
  };
  await writeFile(join(folder, 'config.dump'), configDump(input), { mode: 0o600 });
  await writeFile(join(folder, 'spec.dump'), specDump(input), { mode: 0o600 });
  await writeDeletedFiles({ folder, limit, limited });
  if (record.logPath !== '') await writeLog(folder, record.logPath);
  return writeReport(folder, input.spec);
}

/** Returns a handler that accepts a missing path. Any other failed read is an error. */
const ifAbsent =
  <Value>(value: Value) =>
  (thrown: unknown): Value => {
    if (meansGone(thrown)) return value;
    throw thrown;
  };

/** Undefined: the plan is incomplete, so no step was done. */
function readPlan(text: string): Plan | undefined {
  return attempt(() => parseJson(text) as Plan);
}

/** Undoes a checkpoint of an earlier run. */
async function undo({ cgroups, paths }: CheckpointDeps, folder: string): Promise<void> {
  await endCapture(folder);
  const plan = readPlan(await readFile(join(folder, planFile), 'utf8').catch(ifAbsent('')));
  if (plan !== undefined) {
    await resumeCgroup(cgroups, plan.cgroup);
    if (plan.partial.includes(`/${partialPrefix}`)) await paths.removeFile(plan.partial);
  }
  await rm(folder, { recursive: true, force: true });
}

const cancelled = 'the request was cancelled';
const stopped = 'the container is being stopped or removed';
const overdue = 'the time limit of the checkpoint was exceeded';
const noSpace = 'the disk has less free space than a checkpoint must leave free';

/** Reasons that are not a lack of space. */
const endings: ReadonlyMap<string, readonly ['cancelled' | 'deadline' | 'precondition', fix: string]> =
  new Map([
    [cancelled, ['cancelled', 'repeat the request if the checkpoint is still needed']],
    [stopped, ['precondition', 'request the checkpoint before the container is stopped or removed']],
    [unanswered, ['deadline', askServer]],
    [overdue, ['deadline', 'raise `checkpoint.timeout`, or send a longer timeout']],
  ]);

function refused(
  record: ContainerRecord,
  kind: 'invalid' | 'precondition' | 'exhausted',
  why: string,
  fix: string,
): Error {
  return checkpointFailed('RUNTIME_CHECKPOINT_REFUSED', kind, record.id.slice(0, 13), why, fix);
}

function tooLarge(record: ContainerRecord, why: string): Error {
  return refused(record, 'exhausted', why, 'raise `checkpoint.maxSize`');
}

function ended(record: ContainerRecord, why: string): Error {
  const [kind, fix = 'check the section `checkpoint` of the configuration'] =
    endings.get(why) ?? (['exhausted'] as const);
  return checkpointFailed('RUNTIME_CHECKPOINT_LIMIT', kind, record.id.slice(0, 13), why, fix);
}

/** Returns a handler that throws the failure of a step, such as that of a disk, as a failed checkpoint. */
function asFailed(record: ContainerRecord): (thrown: unknown) => never {
  return (thrown) => {
    if (isPortcullisError(thrown)) throw thrown;
    throw checkpointFailed(
      'RUNTIME_CHECKPOINT_FAILED',
      meansDiskFull(thrown) ? 'exhausted' : 'internal',
      record.id.slice(0, 13),
      reasonOf(thrown),
      'see the reason; the disks of the state and of the archive need free space; repeat the request',
    );
  };
}

const maxMessage = 64 * 1024;

/** Returns the error of a script that failed, with the last error of criu, or the message of the runtime. */
async function failed(record: ContainerRecord, folder: string, exitCode: number): Promise<Error> {
  const lines = [...(await tail(join(folder, 'messages'))), ...(await tail(join(folder, 'work/dump.log')))];
  const said =
    lines.findLast((line) => line.includes('Error (')) ?? lines.findLast((line) => line.trim() !== '') ?? '';
  const { step, fix } = captureSteps[exitCode] ?? interrupted(exitCode);
  return checkpointFailed(
    'RUNTIME_CHECKPOINT_FAILED',
    'precondition',
    record.id.slice(0, 13),
    `the node could not ${step}: ${said.trim().slice(0, 500) || 'without a message'}`,
    fix,
  );
}

async function tail(path: string): Promise<string[]> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => undefined);
  if (file === undefined) return [];
  try {
    const { size } = await file.stat();
    const length = Math.min(size, maxMessage);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead).toString('utf8').split('\n');
  } finally {
    await file.close();
  }
}
