import { enableCompileCache } from 'node:module';

/**
 * Runs a CNI plugin without the daemon, on the same database. The thin client (client.ts) starts it when no
 * daemon answers at the socket; it can also be started by hand. Arguments: `[--lost] --data FOLDER NAME`,
 * where NAME is the name by which the plugin was called.
 */
// Without a cache, compiling the code takes half of the time of such a call. The launcher uses the same
// folder (packaging/bin/portcullis).
enableCompileCache(process.env['NODE_COMPILE_CACHE'] ?? '/var/cache/portcullis/compiled');
const { runAlone } = await import('./run-in-process.ts');
await runAlone(process.argv.slice(2));
