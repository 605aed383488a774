import { join } from 'node:path';
import type { Logger } from '../base/log/index.ts';
import type { StartProgram } from '../base/reactor/index.ts';
import type { NetworkEngine } from '../cni-plugins/index.ts';
import { answerAdminOf, openAdminSocket } from './admin-socket.ts';
import { openBalancing } from './balancing.ts';
import type { Balancing } from './balancing.ts';
import { openCniService } from './cni-service.ts';
import type { DaemonConfig } from './config/types.ts';
import { openDockerDriver } from './docker-driver.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import type { ImageAdmin } from './image-admin.ts';
import type { PolicyAdmin } from './policy-admin.ts';
import { openOverlay } from './overlay.ts';

/**
 * The network tasks of the daemon apart from attaching its pods: services, a network that spans hosts, and
 * the calls of other runtimes and commands.
 */
export interface NetworkSide {
  /** Undefined while there are no services. */
  readonly serviceFigures: Balancing['figures'];
  /**
   * Serves CNI plugins, commands and docker.
   * @param attached ids of the sandboxes that have a network, or are about to
   * @param images answers commands about images
   * @param policy answers commands about the policy
   */
  listen(attached: () => readonly string[], images: ImageAdmin, policy: PolicyAdmin): Promise<void>;
  /** Refuses new calls and resolves when all pending calls have their answer. */
  endCalls(): Promise<void>;
  /** Stops the threads. The rules that the kernel holds stay in force. */
  close(): Promise<void>;
}

/** @throws OVERLAY_CERTIFICATE_UNREADABLE */
export async function openNetworkSide(
  config: DaemonConfig,
  network: NetworkEngine,
  {
    startProgram,
    paths,
    log,
  }: { readonly startProgram: StartProgram; readonly paths: HostPaths; readonly log: Logger },
): Promise<NetworkSide> {
  const balancing = openBalancing(config, network, paths, log);
  const overlay = await openOverlay(config, balancing.control, paths, log);
  const networkLog = log.child({ component: 'network' });
  const listening: { close(): Promise<void> }[] = [];
  return {
    serviceFigures: balancing.figures,
    async listen(attached, images, policy) {
      // Before the socket closes, which waits for the answers.
      listening.push({ close: () => images.stop() });
      const answer = answerAdminOf(network, balancing, overlay, images, policy, attached);
      listening.push(await openAdminSocket(join(config.state, 'admin.sock'), answer, networkLog));
      listening.push(
        await openCniService(config.cni.socket ?? join(config.state, 'cni.sock'), network, networkLog),
      );
      listening.push(await openDockerDriver(config, network, startProgram, networkLog));
    },
    async endCalls() {
      // One that fails does not keep the others open.
      const failures: unknown[] = [];
      for (const each of listening) await each.close().catch((thrown: unknown) => failures.push(thrown));
      if (failures.length > 0) throw failures[0];
    },
    async close() {
      await overlay.close();
      await balancing.close();
    },
  };
}
