import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { Metafile } from 'esbuild';

const root = join(import.meta.dirname, '..');
const source = 'fleet/console';

/**
 * Builds the console of the aggregator into a folder: one script, one style sheet, one page. Returns what
 * esbuild put into the script. Throws esbuild's error when a source does not build.
 */
export async function buildConsole(folder: string): Promise<Metafile> {
  mkdirSync(folder, { recursive: true });
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [{ out: 'console', in: `${source}/main.ts` }],
    outdir: folder,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: ['chrome120', 'firefox121', 'safari17'],
    minify: true,
    legalComments: 'linked',
    metafile: true,
    logLevel: 'warning',
  });
  for (const file of ['index.html', 'console.css'])
    copyFileSync(join(root, source, file), join(folder, file));
  return metafile;
}
