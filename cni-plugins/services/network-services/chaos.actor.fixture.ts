import { writeSync } from 'node:fs';
import { createLogger } from '../../../base/log/index.ts';
import { startServices } from '../control/services.ts';

/**
 * The program that chaos.test.ts kills. It maintains services, and prints when it has started. Argument: the
 * database.
 */
const [databasePath = ''] = process.argv.slice(2);
await startServices({ databasePath, balancer: 'nftables' }, createLogger({ level: 'silent' }));
writeSync(1, 'started\n');
setInterval(() => undefined, 60_000);
