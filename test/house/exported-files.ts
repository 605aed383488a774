import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { readEntryPoints } from './entry-points.ts';

const root = join(import.meta.dirname, '../..');

/** The entry points of the modules (`entry-points.json`), and of the folders of base. */
export const entryPoints: readonly string[] = [
  ...readEntryPoints(),
  ...globSync('base/*/index.ts', { cwd: root }).sort(),
];

/**
 * Returns the files that declare what the entry points export, relative to the repository: their comments are
 * reference.
 */
export function exportedFiles(from: readonly string[] = entryPoints, folder = root): string[] {
  const found = new Set<string>();
  for (const entryPoint of from) for (const file of declaring(entryPoint, undefined, folder)) found.add(file);
  return [...found].sort();
}

/** Returns the files that declare what a file exports: all of it, or the given names. */
function declaring(file: string, names: ReadonlySet<string> | undefined, folder: string): Set<string> {
  const text = readFileSync(join(folder, file), 'utf8');
  const { statements } = ts.createSourceFile(file, text, ts.ScriptTarget.Latest);
  const found = new Set<string>();
  const left = new Set(names);
  for (const statement of statements) {
    if (!ts.isExportDeclaration(statement)) continue;
    const { moduleSpecifier, exportClause } = statement;
    if (moduleSpecifier === undefined || !ts.isStringLiteral(moduleSpecifier)) continue;
    const elements =
      exportClause !== undefined && ts.isNamedExports(exportClause) ? exportClause.elements : undefined;
    const wanted = elements?.filter(({ name }) => names?.has(name.text) ?? true);
    if (wanted?.length === 0) continue;
    for (const { name } of wanted ?? []) left.delete(name.text);
    const inner = wanted && new Set(wanted.map(({ name, propertyName }) => (propertyName ?? name).text));
    for (const each of declaring(join(dirname(file), moduleSpecifier.text), inner, folder)) found.add(each);
  }
  const declaresSome = statements.some(
    (statement) =>
      ts.canHaveModifiers(statement) &&
      ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true,
  );
  if (declaresSome && (names === undefined || left.size > 0)) found.add(file);
  return found;
}
