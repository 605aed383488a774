import { readKubeconfig } from '../../base/kubernetes/index.ts';
import type { ApiAccess } from '../../base/kubernetes/index.ts';
import { conflistPath, removeConflistAt, writeConflist } from '../spanned-network/conflist.ts';
import { ensureMasquerade } from '../spanned-network/masquerade.ts';
import { refuseSmallLink } from '../spec/ipv6-mtu.ts';
import { requireFreeRanges, takeAssigned } from './assignment.ts';
import { openHeldSubnets } from './recorded-subnets.ts';
import { openNodeKernel } from './kernel.ts';
import { followNodes } from './node-objects.ts';
import type { NodeNetworkStatus } from './protocol.ts';
import { createRouteKeeper } from './route-keeper.ts';
import { bridgeName, masqueradeTable, prefixText, readRanges } from './settings.ts';
import type { NodeNetworkSettings } from './settings.ts';
import { createStatusReport } from './status-report.ts';

/** This node's network: its subnet, its routes to the other nodes, and its configuration. */
export interface NodeNetworkAgent {
  /** Takes the subnets that the kubelet sent. */
  runtimeConfig(podCidrs: readonly string[]): Promise<void>;
  status(): NodeNetworkStatus;
  /** Leaves the kernel and the configuration as they are. */
  close(): Promise<void>;
}

/** How often the kernel is compared with the wanted state; less often if that takes long. */
const lookEveryMs = 2000;
const shareOfTime = 50;
/** Changes of Node objects within this time are applied at once. */
const gatherMs = 50;

/** @throws NODE_NETWORK_SETTINGS_INVALID · NETWORK_KERNEL_… · STORAGE_… */
export async function startNodeNetwork(
  settings: NodeNetworkSettings,
  onChanged: (status: NodeNetworkStatus) => void,
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void },
): Promise<NodeNetworkAgent> {
  const { nodeName, kubeconfig } = settings;
  const ranges = readRanges(settings);
  const kernel = openNodeKernel(bridgeName);
  const held = await openHeldSubnets(settings.folder, () => kernel.bridgeSubnets(), log).catch(
    (thrown: unknown) => {
      kernel.close();
      throw thrown;
    },
  );
  const keeper = createRouteKeeper({ settings, ranges, held, kernel, log });
  const report = createStatusReport(nodeName, onChanged, log);
  let { sent } = settings;
  /** The host of the API server's URL, from the last kubeconfig that was read. */
  let server = '';
  let closed = false;
  let changed = false;
  let running = Promise.resolve();
  let looking: NodeJS.Timeout | undefined;

  const access = async (): Promise<ApiAccess> => {
    const read = await readKubeconfig(kubeconfig ?? '');
    server = read.server.hostname.replace(/^\[(.*)\]$/u, '$1');
    return read;
  };

  /** When the configuration was removed, because the node is to get another subnet. */
  let withdrawnAt: number | undefined;
  const conflist = conflistPath(settings);
  const withdraw = async (): Promise<number> => {
    await removeConflistAt(conflist, settings.confDirAnswers);
    withdrawnAt ??= performance.now();
    return performance.now() - withdrawnAt;
  };
  /** Writes the configuration, and removes one of another name or folder, which the settings had before. */
  const publish = async (subnets: readonly string[]): Promise<void> => {
    withdrawnAt = undefined;
    const former = held.conflists.filter((path) => path !== conflist);
    if (held.conflists.length !== 1 || former.length > 0) await held.holdConflists([conflist, ...former]);
    await writeConflist({ ...settings, bridge: bridgeName }, subnets, kernel.mtu());
    for (const path of former) await removeConflistAt(path, settings.confDirAnswers);
    if (former.length > 0) await held.holdConflists([conflist]);
  };

  /** @throws the reason why there is no network for new pods */
  const apply = async (): Promise<void> => {
    const host = kernel.hostAddresses();
    requireFreeRanges(ranges, host, server);
    const problem = await takeAssigned({ settings, ranges, held, kernel, withdraw, log }, nodes, sent);
    const isChanging = problem?.code === 'NODE_NETWORK_SUBNET_CHANGED' && kernel.pods() === 0;
    if (held.current.length > 0) {
      const subnets = held.current.map(prefixText);
      ensureMasquerade({ table: masqueradeTable, ranges, subnets });
      if (!isChanging) await publish(subnets);
      if (nodes !== undefined) keeper.keep(nodes, host);
    }
    if (problem !== undefined) throw problem;
    refuseSmallLink('of the default route', kernel.mtu(), 0, held.current.map(prefixText));
  };

  const lookAfter = (milliseconds: number): void => {
    clearTimeout(looking);
    if (!closed) looking = setTimeout(() => void look(), milliseconds);
  };
  /** A change while an earlier change waits does not delay the look. */
  const lookSoon = (): void => {
    if (!changed) lookAfter(gatherMs);
    changed = true;
  };
  const look = (): Promise<void> => {
    running = running.then(async () => {
      if (closed) return;
      changed = false;
      const begun = performance.now();
      const trouble = await apply().then(
        () => undefined,
        (thrown: unknown) => thrown ?? new Error('no reason'),
      );
      report.update(trouble, {
        subnets: held.current.map(prefixText),
        routes: keeper.count,
        refused: keeper.refused,
        away: nodes?.away(),
      });
      const wasChanged = (): boolean => changed;
      lookAfter(wasChanged() ? gatherMs : Math.max(lookEveryMs, (performance.now() - begun) * shareOfTime));
    });
    return running;
  };
  const nodes = kubeconfig === undefined ? undefined : followNodes(access, lookSoon, log);
  // The subnets on disk are in force at once, so that a restarted node does not wait for anyone.
  await look();

  return {
    async runtimeConfig(podCidrs) {
      sent = podCidrs;
      await look();
    },
    status: () => report.current,
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(looking);
      await nodes?.close();
      await running;
      kernel.close();
    },
  };
}
