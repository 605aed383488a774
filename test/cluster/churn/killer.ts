import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster } from '../nodes/cluster.ts';

export type Victim = 'daemon' | 'kubelet' | 'API server';

/**
 * Kills the daemon or the kubelet of a node, or the API server, one after another, until `end` is aborted. A
 * killed program is away for up to four seconds, and runs again when this function returns.
 * @returns how often each was killed
 */
export async function killAtRandom(
  cluster: Cluster,
  random: () => number,
  end: AbortSignal,
): Promise<Readonly<Record<Victim, number>>> {
  const kills = { daemon: 0, kubelet: 0, 'API server': 0 };
  const victims: readonly Victim[] = ['daemon', 'daemon', 'kubelet', 'API server'];
  const away = (): Promise<void> => pause(random() * 4000);
  while (!end.aborted) {
    await pause(3000 + random() * 9000, undefined, { signal: end }).catch(() => undefined);
    if (end.aborted) break;
    const victim = victims[Math.floor(random() * victims.length)] ?? 'daemon';
    const node = cluster.nodes[Math.floor(random() * cluster.nodes.length)];
    if (node === undefined) continue;
    kills[victim] += 1;
    if (victim === 'daemon') {
      await node.daemon.kill();
      await away();
      await node.startDaemon();
    } else if (victim === 'kubelet') {
      await node.kubelet.end('SIGKILL');
      await away();
      node.kubelet.start();
    } else {
      const { api } = cluster.controlPlane;
      await api.kill();
      await away();
      await api.start();
    }
  }
  return kills;
}
