import { createLogger } from '../../base/log/index.ts';
import { createNetworkEngine } from './engine.ts';

/**
 * The program that crash.test.ts kills: attaches, opens and detaches pods without end, three at a time, in namespaces that the
 * test has pinned. Arguments: database, conf folder, round, then the namespaces.
 */
const [databasePath = '', confDir = '', round = '', ...namespaces] = process.argv.slice(2);
const engine = await createNetworkEngine({ databasePath, confDir, log: createLogger({ level: 'error' }) });
await engine.gc(new Set());
process.stdout.write('started\n');

async function live(netns: string, slot: number): Promise<never> {
  for (let turn = 0; ; turn += 1) {
    const id = `${round}-${slot}-${turn}`;
    const portMappings = [{ protocol: 'udp', containerPort: 53, hostPort: 5300 + slot } as const];
    await engine.attach({ id, netns, pod: { name: id, namespace: 'default', uid: id }, portMappings: turn % 2 === 0 ? portMappings : [] });
    await engine.setClass(id, 'user');
    await engine.detach(id);
  }
}
await Promise.all(namespaces.map(live));
