/**
 * The watching process: the network engine with real pods, as the daemon has it. Its parent asks for figures,
 * and sends a message when it must end.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLogger } from '../../base/log/index.ts';
import { createNetworkEngine } from '../../cni-plugins/index.ts';
import type { NetworkFigures } from '../../cni-plugins/index.ts';

export interface OwnPod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface WatcherAnswer {
  readonly policies: NetworkFigures['policies'];
  /** By name. */
  readonly addresses: Readonly<Record<string, string>>;
}

const [kubeconfig = '', folder = '', nodeName = ''] = process.argv.slice(2);
const confDir = join(folder, 'conf');
mkdirSync(confDir, { recursive: true });
writeFileSync(
  join(confDir, '10-pods.conflist'),
  JSON.stringify({
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isDefaultGateway: true,
        ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/24' }]] },
      },
    ],
  }),
);
const engine = await createNetworkEngine({
  databasePath: join(folder, 'state', 'network.db'),
  confDir,
  policyDir: join(folder, 'policies'),
  policyCluster: { place: { kubeconfig }, nodeName },
  log: createLogger({ level: 'info' }),
});

async function open(pods: readonly OwnPod[]): Promise<void> {
  for (const { labels, ...pod } of pods) {
    const id = pod.name.padEnd(64, 'x');
    if (engine.get(id) !== undefined) continue;
    const netns = join(folder, `netns-${pod.name}`);
    if (!existsSync(netns)) writeFileSync(netns, '');
    execFileSync('unshare', [`--net=${netns}`, 'true']);
    await engine.attach({ id, netns, pod: { ...pod, labels }, portMappings: [] });
    await engine.setClass(id, 'user');
  }
}

async function answer(): Promise<void> {
  const { policies } = await engine.figures();
  const addresses = Object.fromEntries(
    engine.list().map(({ id, ips }) => [id.replace(/x+$/u, ''), ips[0]?.address.split('/')[0] ?? '']),
  );
  process.send?.({ policies, addresses } satisfies WatcherAnswer);
}

process.on('message', (message: 'ask' | 'end' | readonly OwnPod[]) => {
  if (message === 'ask') void answer();
  else if (message === 'end') void engine.close({ removeAll: true }).then(() => process.exit(0));
  else void open(message).then(answer);
});
process.send?.('ready');
