import { rmSync, writeSync } from 'node:fs';
import { listenUnix } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { openPluginEngine } from '../engine/engine.ts';

/**
 * The daemon's side of plugin calls as a separate process, which tests stop and continue: `daemon.fixture.ts
 * DATABASE SOCKET`. It ends when its input ends.
 */
const [databasePath = '', socket = ''] = process.argv.slice(2);
const log = createLogger({ level: 'silent' });
const engine = openPluginEngine({ databasePath, log });
await engine.servePlugins(listenUnix(socket));
writeSync(1, 'ready');
process.stdin.resume().once('end', () => {
  rmSync(socket);
  process.exit();
});
