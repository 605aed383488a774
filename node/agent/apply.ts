import { setTimeout as pause } from 'node:timers/promises';
import { failure, isPortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Controller, NodeState } from '../model/types.ts';
import { openNodeFiles } from '../store/node-files.ts';
import type { DesiredState, NodeStatus } from '../store/node-files.ts';
import { startNodeAgent } from './serve.ts';

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
const intervalMs = 1000;

/**
 * Checks a state completely, writes it durably, and waits until the node has it. The process of `node serve`
 * applies it if it runs; otherwise, this process does.
 * @throws what a controller refuses · NODE_GROUP_MEMBER · NODE_STATE_TIMEOUT · STORAGE_…
 */
export async function applyState(options: ApplyOptions): Promise<NodeStatus> {
  const { folder, controllers, state, file, force } = options;
  for (const controller of controllers) await controller.check?.(state);
  await makeFolder(folder);
  const files = openNodeFiles(folder);
  const before = await files.readDesired().catch(() => undefined);
  if (before?.source.kind === 'group' && !force)
    throw failure(
      'NODE_GROUP_MEMBER',
      'precondition',
      'apply a state to this node',
      '',
      `the node follows the group ${before.source.group}`,
      'change the group with `portcullis node group apply`, or add --force: the group changes the node again with its next generation',
    );
  const desired: DesiredState = {
    revision: fingerprintOf(state),
    source: { kind: 'file', file },
    appliedAt: new Date().toISOString(),
    state,
  };
  await files.writeDesired(desired);
  const ended = performance.now() + options.timeoutMs;
  const agent = await startNodeAgent({
    ...{ folder, controllers, intervalMs, waitMs: 0 },
    log: options.log,
  }).catch((thrown: unknown) => {
    if (isPortcullisError(thrown) && thrown.code === 'STORAGE_IN_USE') return undefined;
    throw thrown;
  });
  try {
    const look =
      agent === undefined
        ? () => files.readStatus()
        : () => Promise.resolve<NodeStatus | undefined>(agent.status());
    return await waitFor(desired, look, ended, options);
  } finally {
    await agent?.close();
  }
}

async function waitFor(
  desired: DesiredState,
  look: () => Promise<NodeStatus | undefined>,
  ended: number,
  { timeoutMs, onProgress }: ApplyOptions,
): Promise<NodeStatus> {
  for (let last = ''; ; await pause(askMs)) {
    const status = await look();
    const isOurs = status?.revision === desired.revision;
    // An older status may say so although the node has drifted since then.
    if (isOurs && status.converged && status.at > desired.appliedAt) return status;
    const text = JSON.stringify({ ...status, at: '' });
    if (isOurs && text !== last) onProgress(status);
    last = text;
    if (performance.now() < ended) continue;
    throw failure(
      'NODE_STATE_TIMEOUT',
      'deadline',
      'bring this node into its desired state',
      '',
      `not reached within ${timeoutMs / 1000} s: ${status === undefined || !isOurs ? 'the process of `portcullis node serve` has not taken it' : describeFailures(status)}`,
      'see `portcullis node status`; the desired state does not change, and `node serve` continues',
    );
  }
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
