import { globSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';

export const root = join(import.meta.dirname, '../..');
const modules = [
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

/**
 * Parses the sources of the product, without tests and fixtures. Types are not checked: symbols are enough.
 */
export function openProgram(): ts.Program {
  const files = modules
    .flatMap((module) => globSync(`${module}/**/*.ts`, { cwd: root }))
    .filter((file) => !/\.(?:test|fixture)\.ts$|\/fixtures\/|\/generate-[^/]+\.ts$/.test(file))
    .sort()
    .map((file) => join(root, file));
  return ts.createProgram(files, {
    target: ts.ScriptTarget.ES2024,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    allowImportingTsExtensions: true,
    resolveJsonModule: true,
    noEmit: true,
    types: [],
    // The bodies of packages are of no interest here.
    noLib: true,
  });
}

export function sourcesOf(program: ts.Program): ts.SourceFile[] {
  return program
    .getSourceFiles()
    .filter((file) => !file.isDeclarationFile && modules.includes(fileName(file).split('/')[0] ?? ''));
}

/** Returns the path of a source file, relative to the repository. */
export function fileName(file: ts.SourceFile): string {
  return relative(root, file.fileName);
}

/** Returns the declaration behind a name, also if an import or an export renames it. */
export function declarationOf(checker: ts.TypeChecker, name: ts.Node): ts.Declaration | undefined {
  let symbol = checker.getSymbolAtLocation(name);
  if (symbol !== undefined && (symbol.flags & ts.SymbolFlags.Alias) !== 0)
    symbol = checker.getAliasedSymbol(symbol);
  return symbol?.declarations?.[0];
}
