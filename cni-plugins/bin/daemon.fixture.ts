import { writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { createLogger } from '../../base/log/index.ts';
import { openPluginEngine } from '../attach/engine.ts';
import { createPluginService } from '../serve/service.ts';

/** The daemon's side of plugin calls as a process of its own, which tests stop and continue: `daemon.fixture.ts DATABASE SOCKET`. It ends with its input. */
const [databasePath = '', socket = ''] = process.argv.slice(2);
const log = createLogger({ level: 'silent' });
const engine = openPluginEngine({ databasePath, log });
const service = createPluginService({ callPlugin: engine.callPlugin, log });
const server = createServer((connection) => service.accept(connection)).listen(socket, () => writeSync(1, 'ready'));
process.stdin.resume().once('end', () => {
  server.close();
  process.exit();
});
