import { setTimeout as pause } from 'node:timers/promises';
import { failure, codeIs, tolerate } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Controller, NodeState } from '../model/types.ts';
import { openNodeFiles } from '../store/node-files.ts';
import type { DesiredState, NodeFiles, NodeStatus } from '../store/node-files.ts';
import { startNodeAgent } from './serve.ts';
import type { NodeAgent } from './serve.ts';

interface ApplyOptions {
  readonly folder: string;
  readonly controllers: readonly Controller[];
  readonly state: NodeState;
  /** Path of the document. */
  readonly file: string;
  /** Also a node that follows a group. */
  readonly force: boolean;
  readonly timeoutMs: number;
  readonly log: Logger;
  /** Called whenever the status has changed. */
  readonly onProgress: (status: NodeStatus) => void;
}

const askMs = 200;
const lookMs = 1000;
const intervalMs = 1000;

/**
 * Checks a state completely, writes it durably, and waits until the node has it. The process of `node serve`
 * applies it if it runs; otherwise, this process does, also if that process ends meanwhile.
 * @throws what a controller refuses · NODE_GROUP_MEMBER · NODE_STATE_DAMAGED · NODE_STATE_REPLACED ·
 * NODE_STATE_TIMEOUT · STORAGE_…
 */
export async function applyState(options: ApplyOptions): Promise<NodeStatus> {
  const { folder, controllers, state, file, force } = options;
  for (const controller of controllers) await controller.check?.(state);
  await makeFolder(folder);
  const files = openNodeFiles(folder);
  if (!force) await requireNoGroup(files);
  const desired: DesiredState = {
    revision: fingerprintOf(state),
    source: { kind: 'file', file },
    appliedAt: new Date().toISOString(),
    state,
  };
  await files.writeDesired(desired);
  return waitFor(desired, files, options);
}

/**
 * Refuses a node whose state comes from a group, or may come from one.
 * @throws PortcullisError NODE_GROUP_MEMBER · NODE_STATE_DAMAGED
 */
export async function requireNoGroup(files: Pick<NodeFiles, 'readDesired'>): Promise<void> {
  const before = await files.readDesired();
  if (before?.source.kind !== 'group') return;
  throw failure(
    'NODE_GROUP_MEMBER',
    'precondition',
    'apply a state to this node',
    '',
    `its state comes from the group ${before.source.group}`,
    'change the group with `portcullis node group apply`, or add --force: a group that still exists changes the node again with its next generation',
  );
}

/** Starts to apply the state in this process; undefined: another process has the node. */
async function startOwnAgent({ folder, controllers, log }: ApplyOptions): Promise<NodeAgent | undefined> {
  return tolerate(codeIs('STORAGE_IN_USE'), () =>
    startNodeAgent({ folder, controllers, intervalMs, waitMs: 0, log }),
  );
}

async function waitFor(desired: DesiredState, files: NodeFiles, options: ApplyOptions): Promise<NodeStatus> {
  const { timeoutMs, onProgress } = options;
  const ended = performance.now() + timeoutMs;
  let agent: NodeAgent | undefined;
  /** The latest request for the same state: another command may have repeated ours. */
  let wanted = desired;
  try {
    for (let last = '', lookAt = -Infinity; ; await pause(askMs)) {
      if (performance.now() >= lookAt) {
        lookAt = performance.now() + lookMs;
        wanted = await requireDesired(files, wanted);
        agent ??= await startOwnAgent(options);
      }
      const status = agent === undefined ? await files.readStatus() : agent.status();
      const isOurs = status !== undefined && isAbout(status, wanted);
      if (isOurs && status.converged) return status;
      const text = JSON.stringify({ ...status, at: '' });
      if (isOurs && text !== last) onProgress(status);
      last = text;
      if (performance.now() >= ended) throw late(timeoutMs, agent === undefined, isOurs ? status : undefined);
    }
  } finally {
    await agent?.close();
  }
}

/** Whether a status is about this request: an older one does not know what has drifted since then. */
const isAbout = ({ revision, appliedAt, at }: NodeStatus, desired: DesiredState): boolean =>
  revision === desired.revision &&
  (appliedAt === undefined ? at > desired.appliedAt : appliedAt === desired.appliedAt);

/**
 * Returns the latest request for the state.
 * @throws NODE_STATE_REPLACED when another state was applied since then
 */
async function requireDesired(files: NodeFiles, wanted: DesiredState): Promise<DesiredState> {
  // A damaged file is reported by the process that keeps the node.
  const now = await files.readDesired().catch(() => undefined);
  if (now === undefined) return wanted;
  if (now.revision === wanted.revision) return now;
  const { source } = now;
  throw failure(
    'NODE_STATE_REPLACED',
    'precondition',
    'bring this node into its desired state',
    '',
    `another state has replaced it: ${source.kind === 'file' ? `that of ${source.file}` : `generation ${source.generation} of the group ${source.group}`}`,
    'see `portcullis node status`, and apply the state again if the node should have it',
  );
}

function late(timeoutMs: number, isServed: boolean, status: NodeStatus | undefined): PortcullisError {
  const why =
    status === undefined
      ? 'the process of `portcullis node serve` has not taken it'
      : describeFailures(status);
  return failure(
    'NODE_STATE_TIMEOUT',
    'deadline',
    'bring this node into its desired state',
    '',
    `not reached within ${timeoutMs / 1000} s: ${why}`,
    isServed
      ? 'see `portcullis node status`; the desired state does not change, and `node serve` continues'
      : 'the desired state does not change: apply it again, or start `portcullis node serve`, which continues',
  );
}

/** Returns what is not as it should be, as a sentence. */
export function describeFailures({ sections, problem }: NodeStatus): string {
  const wrong = sections.flatMap(({ section, state, failures }) =>
    failures.length > 0
      ? failures.map(({ item, why }) => `${section}${item === undefined ? '' : ` ${item}`}: ${why}`)
      : state === 'in sync'
        ? []
        : [`${section}: ${state}`],
  );
  return [...(problem === undefined ? [] : [problem]), ...wrong].join('; ');
}
