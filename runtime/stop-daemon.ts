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
  readonly reports: Closable;
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
 * running. A step that fails, for example because its thread was lost, keeps no other step from being taken.
 * @throws the error of the first step that failed, after all steps
 */
export async function stopDaemon(running: RunningDaemon): Promise<void> {
  const { networkSide, pods, sandboxRecords, startProgram, log } = running;
  const failures: unknown[] = [];
  const step = async (what: string, act: () => unknown): Promise<void> => {
    try {
      await act();
    } catch (cause) {
      failures.push(cause);
      log.error(
        { what, cause: reasonOf(cause) },
        'a part of the daemon could not be stopped properly; the next start cleans up',
      );
    }
  };
  const close = (parts: Readonly<Record<string, { close(): unknown }>>): Promise<unknown> =>
    Promise.all(Object.entries(parts).map(([what, part]) => step(what, () => part.close())));
  await close({ reports: running.reports });
  await close({ policy: running.policy });
  await close({ policySide: running.policySide });
  await close({ events: running.events });
  await close({ server: running.server });
  await step('calls', networkSide.endCalls);
  await close({ streaming: running.streaming });
  await close({ observability: running.observability });
  await close({ probe: pods.probe, prover: running.prover });
  await close({ stats: running.stats });
  await close({ rotation: running.rotation });
  await close({ pods });
  await close({ networkSide });
  await step('network', () => running.network.close({ removeAll: true }));
  await close({ hostPaths: running.hostPaths });
  // The mark of an orderly stop may not fit on the disk: the next start then checks more layers than
  // necessary.
  await running.images
    .close()
    .catch((cause: unknown) =>
      log.warn({ cause: reasonOf(cause) }, 'the image store could not be closed properly'),
    );
  const idle = sandboxRecords.list().length === 0;
  if (idle) await step('cgroups', () => removeCgroups(pods.cgroups, ['/portcullis']));
  await step('execScopes', () => closeExecScopes(pods.execScopes));
  await close({ verdictLog: running.verdictLog });
  await close({ registries: running.registries, database: running.database });
  await step('claims', running.release);
  // The namespaces and root file systems of pods that keep running are mounted below this folder.
  if (idle) await step('mountNamespace', () => leaveMountNamespace(startProgram));
  await close({ reactor: running.reactor, kernel: running.kernel });
  if (failures.length > 0) throw failures[0];
  log.info({}, 'stopped');
}
