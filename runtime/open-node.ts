import { startKernelWorker } from '../base/kernel/index.ts';
import type { Kernel } from '../base/kernel/index.ts';
import { createLogger } from '../base/log/index.ts';
import type { Logger } from '../base/log/index.ts';
import { programStarter, startReactor } from '../base/reactor/index.ts';
import type { Reactor, StartProgram } from '../base/reactor/index.ts';
import { loadEngineThreadEarly } from '../cni-plugins/index.ts';
import { tryCgroupMoves } from './cgroups/cgroup-moves.ts';
import { claimNode } from './claim-node.ts';
import type { ClaimedNode } from './claim-node.ts';
import type { DaemonConfig } from './config/types.ts';
import { favourMainThread } from './main-thread.ts';
import type { NetworkDeps } from './network.ts';
import { openFirst } from './open-first.ts';
import type { OpenedFirst } from './open-first.ts';
import type { Undo } from './undo.ts';
import { collectWorkersEarly, unmapLoader } from './worker-memory.ts';

/** Resources that the daemon opens before any service: folders, threads, the database, the network. */
export interface OpenNode extends OpenedFirst, ClaimedNode {
  readonly log: Logger;
  readonly reactor: Reactor;
  readonly kernel: Kernel;
  readonly startProgram: StartProgram;
}

/**
 * Claims the node, and opens what every other part of the daemon depends on.
 * @param undo collects the functions that undo early work if the start fails
 * @throws the errors of {@link claimNode} and {@link openFirst}
 */
export async function openNode(
  config: DaemonConfig,
  undo: Undo,
  onAct: NetworkDeps['onAct'],
): Promise<OpenNode> {
  const log = createLogger({ level: config.logLevel });
  favourMainThread(log);
  collectWorkersEarly();
  unmapLoader(log);
  // Loading its code takes 200 ms, which pass while the node is claimed and the other threads start. It
  // changes nothing before its first call.
  const networkThreads = loadEngineThreadEarly();
  undo.push(networkThreads.discard);
  const claimed = await claimNode(config, log);

  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker({ isShared: true })]);
  const startProgram = programStarter(reactor, kernel);
  if (config.cgroupFavorDynmods) void tryCgroupMoves(kernel, config.state, log);
  const stateDir = claimed.folders.oci;
  const opened = await openFirst(config, { startProgram, stateDir, networkThreads, log, undo, onAct });
  return { ...claimed, ...opened, log, reactor, kernel, startProgram };
}
