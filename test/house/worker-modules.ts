/**
 * Lists the folders and the packages that each Worker of the bundle loads at its start. A Worker compiles and
 * keeps all of them in its own heap. The committed list (`worker-modules.golden`) makes an import that
 * reaches a Worker visible in review. `node test/house/worker-modules.ts --update` writes it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Metafile } from 'esbuild';
import { describeBundle, workerSources } from '../../packaging/build.ts';

const goldenFile = new URL('worker-modules.golden', import.meta.url);

/** Returns the folder of a source, at most two levels deep, or the name of a package. */
function partOf(source: string): string {
  const packages = source.lastIndexOf('node_modules/');
  if (packages >= 0) {
    const parts = source.slice(packages + 'node_modules/'.length).split('/');
    const isScoped = parts[0]?.startsWith('@') === true;
    return `npm:${parts.slice(0, isScoped ? 2 : 1).join('/')}`;
  }
  const folders = source.split('/').slice(0, -1);
  return folders.length === 0 ? source : folders.slice(0, 2).join('/');
}

/** Returns the files of the bundle that one of them loads at once. What is imported later is not counted. */
function loadedWith(outputs: Metafile['outputs'], file: string, found = new Set<string>()): Set<string> {
  const output = outputs[file];
  if (output === undefined || found.has(file)) return found;
  found.add(file);
  for (const { path, kind } of output.imports)
    if (kind === 'import-statement') loadedWith(outputs, path, found);
  return found;
}

/** Returns the list as text, one paragraph for each Worker. */
export async function listWorkerModules(): Promise<string> {
  const { outputs } = await describeBundle();
  const paragraphs = workerSources().map((source) => {
    const file = Object.keys(outputs).find((name) => outputs[name]?.entryPoint === source);
    const parts = [...loadedWith(outputs, file ?? '')].flatMap((name) =>
      Object.entries(outputs[name]?.inputs ?? {})
        .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
        .map(([input]) => partOf(input)),
    );
    return [basename(source, '.ts'), ...[...new Set(parts)].sort().map((part) => `  ${part}`)].join('\n');
  });
  return `${paragraphs.join('\n')}\n`;
}

/** Returns the committed list. */
export function readGolden(): string {
  return readFileSync(goldenFile, 'utf8');
}

if (import.meta.main && process.argv.includes('--update'))
  writeFileSync(goldenFile, await listWorkerModules());
