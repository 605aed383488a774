/**
 * The daemon's side of CNI calls in a separate process, for bench/network.ts: `plugin-service.ts DATABASE
 * SOCKET`. It ends with its input.
 */
import { listenUnix } from '../base/kernel/index.ts';
import { createLogger } from '../base/log/index.ts';
import { openPluginEngine } from '../cni-plugins/index.ts';
import { favourMainThread } from '../runtime/main-thread.ts';

const [databasePath = '', socket = ''] = process.argv.slice(2);
const log = createLogger({ level: 'error' });
favourMainThread(log);
const engine = openPluginEngine({ databasePath, log });
await engine.servePlugins(listenUnix(socket));
console.log('ready');
process.stdin.resume().once('end', () => process.exit());
