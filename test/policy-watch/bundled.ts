import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';

const workers = [
  'cni-plugins/engine/thread/network.worker.ts',
  'cni-plugins/policy/cluster/cluster-policies.worker.ts',
  'cni-plugins/policy/kubernetes/policy-files.worker.ts',
];

/**
 * Bundles the watching process as it is released: if it ran from sources, type stripping would be most of its
 * memory. The bundle is next to node_modules, from where native code is loaded.
 */
export async function bundleWatcher(): Promise<{ readonly program: string; readonly folder: string }> {
  const root = join(import.meta.dirname, '../..');
  const cache = join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'policy-watch-'));
  await build({
    absWorkingDir: root,
    entryPoints: [
      { out: 'watcher', in: 'test/policy-watch/watcher.ts' },
      ...workers.map((source) => ({ out: basename(source, '.ts'), in: source })),
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
  for (const source of workers) {
    const name = basename(source, '.ts');
    writeFileSync(join(folder, `workers/${name}.js`), `import '../${name}.js';\n`);
  }
  return { program: join(folder, 'watcher.js'), folder };
}
