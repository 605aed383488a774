import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

/**
 * Bundles the watching process as it is released: if it ran from sources, type stripping would be most of its
 * memory. The bundle is next to node_modules, from where native code is loaded.
 */
export async function bundleWatcher(): Promise<{ readonly program: string; readonly folder: string }> {
  const root = join(import.meta.dirname, '../..');
  const cache = join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'services-watch-'));
  await build({
    absWorkingDir: root,
    entryPoints: [
      { out: 'watcher', in: 'test/services-watch/watcher.ts' },
      { out: 'services.worker', in: 'cni-plugins/services/control/services.worker.ts' },
    ],
    outdir: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node26',
    external: ['koffi'],
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module';\nconst require = __createRequire(import.meta.url);",
    },
    minifyWhitespace: true,
    minifySyntax: true,
    logLevel: 'warning',
  });
  mkdirSync(join(folder, 'workers'));
  writeFileSync(join(folder, 'workers/services.worker.js'), "import '../services.worker.js';\n");
  return { program: join(folder, 'watcher.js'), folder };
}
