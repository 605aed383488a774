import { watch } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import {
  dropAbandonedWrites,
  dropOldAbandonedWrites,
  lockFolder,
  makeFolder,
} from '../../base/storage/index.ts';
import type { FolderLock } from '../../base/storage/index.ts';
import type { Controller } from '../model/types.ts';
import { openRecords } from '../reconcile/records.ts';
import { startReconciler } from '../reconcile/reconciler.ts';
import type { Reconciler } from '../reconcile/reconciler.ts';
import { openNodeFiles } from '../store/node-files.ts';
import type { DesiredState, NodeFiles, NodeStatus } from '../store/node-files.ts';

/** The process that keeps a node in its state. */
export interface NodeAgent {
  readonly reconciler: Reconciler;
  /** Makes another state durable, and begins to reach it. @throws STORAGE_… */
  apply(desired: DesiredState): Promise<void>;
  status(): NodeStatus;
  close(): Promise<void>;
}

interface AgentOptions {
  readonly folder: string;
  readonly controllers: readonly Controller[];
  readonly log: Logger;
  /** Time between two observations of a section, in ms. */
  readonly intervalMs: number;
  /** How long to wait for another process that has the folder, in ms. */
  readonly waitMs: number;
  /** Ends this wait: the folder is then in use. */
  readonly stop?: AbortSignal;
  /** The progress of the node in its group. */
  readonly group?: () => string;
}

/** A reader that sees an older time knows that nobody keeps the node. */
const heartbeatMs = 5000;
const lookMs = 1000;
const leastMs = 200;
const askMs = 100;

/** Waits for another process that has the folder, and logs that it waits. */
async function lockWhenFree({ folder, log, waitMs, stop }: AgentOptions): Promise<FolderLock> {
  const end = performance.now() + waitMs;
  for (let isLogged = false; ; isLogged = true)
    try {
      return await lockFolder(folder);
    } catch (thrown) {
      const isInUse = isPortcullisError(thrown) && thrown.code === 'STORAGE_IN_USE';
      if (!isInUse || performance.now() >= end || stop?.aborted === true) throw thrown;
      if (!isLogged)
        log.warn(
          { why: thrown.failure.why, seconds: waitMs / 1000 },
          'another process keeps the node: waiting until it ends',
        );
      await pause(askMs, undefined, stop === undefined ? {} : { signal: stop }).catch(() => undefined);
    }
}

/**
 * Starts to keep the node in the state of the folder, and follows changes of the folder.
 * @throws STORAGE_IN_USE when another process has the folder · NODE_STATE_DAMAGED for its records
 */
export async function startNodeAgent(options: AgentOptions): Promise<NodeAgent> {
  const { folder, controllers, log, intervalMs, group } = options;
  await makeFolder(folder);
  const lock = await lockWhenFree(options);
  try {
    const files = openNodeFiles(folder);
    for (const name of ['owned.json', 'status.json']) await dropAbandonedWrites(`${folder}/${name}`);
    // Several processes may write desired.json.
    await dropOldAbandonedWrites(folder);
    const records = await openRecords(files);
    const reconciler = startReconciler({ controllers, records, log, intervalMs });
    const follower = followDesired(files, reconciler, log);
    const statusOf = (): NodeStatus => ({
      ...reconciler.status(),
      ...(follower.problem() !== undefined && { problem: follower.problem() ?? '' }),
      ...(group !== undefined && { group: group() }),
    });
    const writer = keepStatus(files, reconciler, statusOf, log);
    await follower.look();
    return {
      reconciler,
      async apply(desired) {
        await files.writeDesired(desired);
        await follower.look();
      },
      status: statusOf,
      async close() {
        follower.close();
        await reconciler.close();
        await writer.close();
        lock.release();
      },
    };
  } catch (thrown) {
    lock.release();
    throw thrown;
  }
}

interface Follower {
  look(): Promise<void>;
  problem(): string | undefined;
  close(): void;
}

/**
 * Reads the desired state when its file changes. A damaged state is reported, and the last readable state is
 * kept.
 */
function followDesired(files: NodeFiles, reconciler: Reconciler, log: Logger): Follower {
  const queue = createSerialQueue();
  let problem: string | undefined;
  const look = (): Promise<void> =>
    queue(async () => {
      try {
        const desired = await files.readDesired();
        problem = undefined;
        const now = reconciler.desired();
        if (
          desired === undefined ||
          (now?.revision === desired.revision && now.appliedAt === desired.appliedAt)
        )
          return;
        if (now?.revision !== desired.revision)
          log.info({ revision: desired.revision, source: desired.source }, 'the desired state has changed');
        reconciler.use(desired);
      } catch (thrown) {
        const why = isPortcullisError(thrown) ? thrown.message : reasonOf(thrown);
        if (problem !== why)
          log.error({ why }, 'the desired state cannot be read: the last readable state is kept');
        problem = why;
      }
    });
  // Where the kernel reports no changes, the timer finds them.
  const watcher = watch(files.folder, (_, name) => {
    if (name === 'desired.json') void look();
  });
  watcher.on('error', () => watcher.close());
  const timer = setInterval(() => void look(), lookMs);
  return {
    look,
    problem: () => problem,
    close() {
      clearInterval(timer);
      watcher.close();
    },
  };
}

/** Writes the status soon after each pass that changed it, and as a sign of life. */
function keepStatus(
  files: NodeFiles,
  reconciler: Reconciler,
  statusOf: () => NodeStatus,
  log: Logger,
): { close(): Promise<void> } {
  const queue = createSerialQueue();
  let written = '';
  let writtenAt = -Infinity;
  let failed = false;
  let timer: NodeJS.Timeout | undefined;
  const write = (): Promise<void> =>
    queue(async () => {
      const status = statusOf();
      const text = JSON.stringify({ ...status, at: '' });
      if (text === written && performance.now() - writtenAt < heartbeatMs) return;
      try {
        await files.writeStatus(status);
        written = text;
        writtenAt = performance.now();
        failed = false;
      } catch (thrown) {
        if (!failed) log.error({ why: reasonOf(thrown) }, 'the status cannot be written');
        failed = true;
      }
    });
  const soon = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      void write();
    }, leastMs);
  };
  const unsubscribe = reconciler.onPass(soon);
  const beat = setInterval(soon, lookMs);
  return {
    async close() {
      unsubscribe();
      clearInterval(beat);
      clearTimeout(timer);
      await write();
    },
  };
}
