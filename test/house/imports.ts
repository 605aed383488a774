/**
 * Lists the imports of each module: other modules, third-party packages, Node.js modules. The committed list
 * (`imports.golden`) makes a new dependency visible in review. `npm run imports:update` writes it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cruise } from 'dependency-cruiser';
import type { ICruiseOptions, ICruiseResult } from 'dependency-cruiser';

export const productModules: readonly string[] = [
  'base',
  'trust',
  'entitlements',
  'cni-plugins',
  'fleet',
  'admission',
  'runtime',
  'node',
  'cli',
];
/** Matches tests and files that only tests use. They are not shipped. */
export const testCode = '(\\.test|\\.fixture|/test-kit)\\.ts$|/fixtures/';
const goldenFile = new URL('imports.golden', import.meta.url);

interface Imports {
  readonly modules: Set<string>;
  readonly npm: Set<string>;
  readonly node: Set<string>;
}

/** Returns the module of a file. Each folder of base is a separate module. */
function moduleOf(path: string): string {
  const [first = '', second = ''] = path.split('/');
  return first === 'base' ? `base/${second}` : first;
}

function packageOf(path: string): string {
  const parts = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length).split('/');
  return (parts[0]?.startsWith('@') === true ? parts.slice(0, 2) : parts.slice(0, 1))
    .join('/')
    .replace(/^@types\//, '');
}

function record(
  found: Imports,
  from: string,
  dependency: { resolved: string; coreModule: boolean; couldNotResolve: boolean },
): void {
  if (dependency.couldNotResolve) return; // a separate import rule reports it
  if (dependency.coreModule) found.node.add(dependency.resolved.replace(/^node:/, ''));
  else if (dependency.resolved.includes('node_modules/')) found.npm.add(packageOf(dependency.resolved));
  else if (moduleOf(dependency.resolved) !== from) found.modules.add(moduleOf(dependency.resolved));
}

/** Options of dependency-cruiser that read the imports of the product, types included. */
const importOptions: ICruiseOptions = {
  doNotFollow: { path: 'node_modules' },
  exclude: { path: testCode },
  tsPreCompilationDeps: true,
  enhancedResolveOptions: {
    exportsFields: ['exports'],
    conditionNames: ['import', 'node', 'default', 'types'],
    extensions: ['.ts', '.js', '.json'],
  },
};

type ModuleImports = ICruiseResult['modules'];
let read: Promise<ModuleImports> | undefined;

/** Returns the imports of each file of the product. A process reads them once, because it takes seconds. */
export function readImports(): Promise<ModuleImports> {
  const cruiseAll = async (): Promise<ModuleImports> =>
    ((await cruise([...productModules], importOptions)).output as ICruiseResult).modules;
  return (read ??= cruiseAll());
}

/** Returns the list as text, computed from the sources without tests and their fixtures. */
export async function importsOfModules(): Promise<string> {
  const found = new Map<string, Imports>();
  for (const module of await readImports()) {
    if (
      module.source.includes('node_modules/') ||
      !productModules.includes(module.source.split('/')[0] ?? '')
    )
      continue;
    const name = moduleOf(module.source);
    const imports = found.get(name) ?? { modules: new Set(), npm: new Set(), node: new Set() };
    found.set(name, imports);
    for (const dependency of module.dependencies) record(imports, name, dependency);
  }
  const line = (title: string, names: Set<string>): string =>
    names.size === 0 ? '' : `  ${title.padEnd(8)}${[...names].sort().join(' ')}\n`;
  return [...found.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([name, imports]) =>
        `${name}\n${line('modules', imports.modules)}${line('npm', imports.npm)}${line('node', imports.node)}`,
    )
    .join('');
}

export function committedImports(): string {
  return readFileSync(goldenFile, 'utf8');
}

if (process.argv[2] === '--update') writeFileSync(goldenFile, await importsOfModules());
