/**
 * The watching process: runs only the services of a node, as the daemon does. Its parent sends a message when
 * it must end.
 */
import { createLogger } from '../../base/log/index.ts';
import type { ServiceFigures } from '../../cni-plugins/services/control/protocol.ts';
import { collectWorkersEarly } from '../../runtime/worker-memory.ts';
import { startServices } from '../../cni-plugins/services/control/services.ts';

export interface WatcherAnswer {
  readonly figures: NonNullable<ServiceFigures['kubernetes']>;
  /** In the format of the control socket. */
  readonly listed: string;
}

const [kubeconfig = '', databasePath = ''] = process.argv.slice(2);
collectWorkersEarly();
const services = await startServices(
  { databasePath, balancer: 'nftables', kubernetes: { place: { kubeconfig }, nodeName: 'node-1' } },
  createLogger({ level: 'info' }),
);

async function answer(): Promise<void> {
  const { kubernetes: figures } = await services.figures();
  if (figures === undefined) throw new Error('no cluster is followed');
  const listed = await services.ask(JSON.stringify({ do: 'list' }));
  process.send?.({ figures, listed } satisfies WatcherAnswer);
}

process.on('message', (message) => {
  if (message === 'ask') void answer();
  else void services.close().then(() => process.exit(0));
});
