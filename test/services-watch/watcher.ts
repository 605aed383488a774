/** The watching process: the services of a node as the daemon runs them, and nothing else of it. Told by its parent when to end. */
import { readFileSync } from 'node:fs';
import { createLogger } from '../../base/log/index.ts';
import { startServices } from '../../cni-plugins/index.ts';
import type { ServiceFigures } from '../../cni-plugins/index.ts';

export interface WatcherAnswer {
  readonly figures: NonNullable<ServiceFigures['kubernetes']>;
  /** As the control has it. */
  readonly listed: string;
  /** Of the whole process, MiB: the most ever, and now. */
  readonly peakMiB: number;
  readonly residentMiB: number;
}

const [kubeconfig = '', databasePath = ''] = process.argv.slice(2);
const services = await startServices(
  { databasePath, balancer: 'nftables', kubernetes: { kubeconfig, nodeName: 'node-1' } },
  createLogger({ level: 'info' }),
);

const mebibytes = (name: string): number =>
  Number(new RegExp(`${name}:\\s+(\\d+)`, 'u').exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? NaN) / 1024;

async function answer(): Promise<void> {
  // Before the answer itself, which tells every backend of the cluster.
  const [peakMiB, residentMiB] = [mebibytes('VmHWM'), mebibytes('VmRSS')];
  const { kubernetes: figures } = await services.figures();
  if (figures === undefined) throw new Error('no cluster is followed');
  const listed = await services.ask(JSON.stringify({ do: 'list' }));
  process.send?.({ figures, listed, peakMiB, residentMiB } satisfies WatcherAnswer);
}

process.on('message', (message) => {
  if (message === 'ask') void answer();
  else void services.close().then(() => process.exit(0));
});
for (;;) {
  const { kubernetes } = await services.figures();
  if (kubernetes?.synced === true) break;
  await new Promise((resolve) => setTimeout(resolve, 50));
}
process.send?.('synced');
