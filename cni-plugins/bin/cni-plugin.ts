import { enableCompileCache } from 'node:module';

/**
 * A CNI plugin without the daemon, on the same database: started by the thin client (client.ts) when nobody answers at the daemon's
 * socket, or by hand. Arguments: `[--lost] --data FOLDER NAME`, NAME being what the plugin was called by.
 */
// Half of what such a call takes is compilation. The folder is the launcher's (packaging/bin/portcullis).
enableCompileCache(process.env['NODE_COMPILE_CACHE'] ?? '/var/cache/portcullis/compiled');
const { runAlone } = await import('./run-alone.ts');
await runAlone(process.argv.slice(2));
