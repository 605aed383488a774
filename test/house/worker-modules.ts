/**
 * Lists the folders and the packages that each Worker of the bundle loads at its start. A Worker compiles and
 * keeps all of them in its own heap. The committed list (`worker-modules.golden`) makes an import that
 * reaches a Worker visible in review. `sh packaging/node test/house/worker-modules.ts --update` writes it.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Metafile } from 'esbuild';
import ts from 'typescript';
import { workerSources } from '../../packaging/build.ts';
import { isWholeProgram } from '../../packaging/whole-programs.ts';
import { bundleMetafile } from '../fixtures/built-bundle.ts';

const root = join(import.meta.dirname, '../..');
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

/** Returns the sources that a Worker loads at its start. */
function sourcesOf(outputs: Metafile['outputs'], worker: string): string[] {
  const file = Object.keys(outputs).find(
    (name) => outputs[name]?.entryPoint === worker && !isWholeProgram(name),
  );
  return [...loadedWith(outputs, file ?? '')].flatMap((name) =>
    Object.entries(outputs[name]?.inputs ?? {})
      .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
      .map(([input]) => input),
  );
}

/** Returns the list as text, one paragraph for each Worker. */
export async function listWorkerModules(): Promise<string> {
  const { outputs } = await bundleMetafile();
  const paragraphs = workerSources().map((source) => {
    const parts = sourcesOf(outputs, source).map(partOf);
    return [basename(source, '.ts'), ...[...new Set(parts)].sort().map((part) => `  ${part}`)].join('\n');
  });
  return `${paragraphs.join('\n')}\n`;
}

const awaitUsing: number = ts.NodeFlags.AwaitUsing;

/** Returns whether a module has an await outside its functions. */
export function awaitsAtTopLevel(text: string): boolean {
  if (!text.includes('await')) return false;
  const awaits = (node: ts.Node): boolean => {
    if (ts.isFunctionLike(node)) return false;
    if (ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined))
      return true;
    if (ts.isVariableDeclarationList(node) && (node.flags & awaitUsing) === awaitUsing) return true;
    return ts.forEachChild(node, (child) => awaits(child) || undefined) ?? false;
  };
  return awaits(ts.createSourceFile('module.ts', text, ts.ScriptTarget.Latest));
}

/**
 * Returns the modules with a top-level await that a module of a Worker imports statically
 * (`workerEntry` of packaging/build.ts says why there may be none). The Worker's own module may have one.
 */
export async function listAwaitedImports(): Promise<string[]> {
  const { outputs } = await bundleMetafile();
  const imported = workerSources().flatMap((worker) =>
    sourcesOf(outputs, worker).filter((source) => source !== worker),
  );
  // Generated validators have no file.
  const files = [...new Set(imported)].filter((source) => existsSync(join(root, source)));
  return files.filter((source) => awaitsAtTopLevel(readFileSync(join(root, source), 'utf8')));
}

/** Returns the committed list. */
export function readGolden(): string {
  return readFileSync(goldenFile, 'utf8');
}

if (import.meta.main && process.argv.includes('--update'))
  writeFileSync(goldenFile, await listWorkerModules());
