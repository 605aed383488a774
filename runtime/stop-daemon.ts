import { reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import type { StartProgram } from '../base/reactor/index.ts';
import { removeCgroups } from './cgroups/cgroup-removal.ts';
import { closeExecScopes } from './oci/exec-scope.ts';
import { leaveMountNamespace } from './cgroups/mount-namespace.ts';
import type { NetworkSide } from './network-side.ts';
import type { DaemonNetwork } from './network.ts';
import type { PodSide } from './pod-side.ts';
import type { SandboxRecord } from './pods/record.ts';

interface Closable {
  close(): Promise<void>;
}

/** The parts of a running daemon that its stop ends. */
export interface RunningDaemon {
  readonly policy: { close(): void };
  readonly policySide: Closable;
  readonly events: { close(): void };
  readonly server: Closable;
  readonly networkSide: Pick<NetworkSide, 'endCalls' | 'close'>;
  readonly streaming: Closable;
  readonly observability: Closable;
  readonly prover: Closable;
  readonly stats: Closable;
  readonly rotation: { close(): void };
  readonly pods: Pick<PodSide, 'probe' | 'cgroups' | 'execScopes' | 'close'>;
  readonly network: Pick<DaemonNetwork, 'close'>;
  readonly hostPaths: Closable;
  readonly images: Closable;
  readonly sandboxRecords: { list(): readonly SandboxRecord[] };
  readonly verdictLog: Closable;
  readonly registries: Closable;
  readonly database: Closable;
  /** Releases the folders and the network namespace of the daemon. */
  readonly release: () => void;
  readonly startProgram: StartProgram;
  readonly reactor: Closable;
  readonly kernel: Closable;
  readonly log: Logger;
}

/**
 * Stops a daemon: first what begins work, then what serves calls, then what these depend on. Containers keep
 * running.
 */
export async function stopDaemon(running: RunningDaemon): Promise<void> {
  const { networkSide, pods, sandboxRecords, startProgram, log } = running;
  running.policy.close();
  await running.policySide.close();
  running.events.close();
  await running.server.close();
  await networkSide.endCalls();
  await running.streaming.close();
  await running.observability.close();
  await Promise.all([pods.probe.close(), running.prover.close()]);
  await running.stats.close();
  running.rotation.close();
  await pods.close();
  await networkSide.close();
  await running.network.close({ removeAll: true });
  await running.hostPaths.close();
  // The mark of an orderly stop may not fit on the disk: the next start then checks more layers than
  // necessary.
  await running.images
    .close()
    .catch((cause: unknown) =>
      log.warn({ cause: reasonOf(cause) }, 'the image store was not closed in order'),
    );
  const idle = sandboxRecords.list().length === 0;
  if (idle) await removeCgroups(pods.cgroups, ['/portcullis']);
  await closeExecScopes(pods.execScopes);
  await running.verdictLog.close();
  await Promise.all([running.registries.close(), running.database.close()]);
  running.release();
  // The namespaces and root file systems of pods that keep running are mounted below this folder.
  if (idle) await leaveMountNamespace(startProgram);
  await Promise.all([running.reactor.close(), running.kernel.close()]);
  log.info({}, 'stopped');
}
