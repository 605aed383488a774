import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import ts from 'typescript';

/** The functions whose body is a list of tests, each of which is judged by itself. */
const groups: readonly string[] = ['describe', 'suite'];

/**
 * Returns the functions with more lines, each as `FILE:LINE NAME has COUNT lines`. Bodies of `describe` do
 * not count.
 */
export function longFunctions(files: readonly string[], folder: string, most: number): string[] {
  return files.flatMap((file) => {
    const text = readFileSync(join(folder, file), 'utf8');
    if (text.split('\n').length <= most) return [];
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
    const lineAt = (position: number): number => source.getLineAndCharacterOfPosition(position).line + 1;
    const found: string[] = [];
    const visit = (node: ts.Node): void => {
      if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined && !isGroup(node)) {
        const first = lineAt(node.getStart(source));
        const count = lineAt(node.end) - first + 1;
        if (count > most) found.push(`${file}:${first} ${nameOf(node)} has ${count} lines`);
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
    return found;
  });
}

const calledBy = ({ parent }: ts.Node): string | undefined =>
  ts.isCallExpression(parent) ? parent.expression.getText().replace(/\..*$/u, '') : undefined;

const isGroup = (node: ts.Node): boolean => groups.includes(calledBy(node) ?? '');

function nameOf(node: ts.SignatureDeclaration): string {
  if (node.name !== undefined) return node.name.getText();
  const called = calledBy(node);
  if (called !== undefined) return `a function for ${called}()`;
  return ts.isVariableDeclaration(node.parent) ? node.parent.name.getText() : 'a function';
}

/**
 * Returns the groups of folders that import each other in a circle, also for types only, each as the imports
 * between its folders: `FILE -> FILE`. Only imports among the given files count.
 */
export function folderCycles(files: readonly string[], folder: string): string[][] {
  const known = new Set(files);
  const imports = files.flatMap((from) =>
    importedBy(readFileSync(join(folder, from), 'utf8'))
      .map((specifier) => normalize(join(dirname(from), specifier)))
      .filter((to) => known.has(to) && dirname(to) !== dirname(from))
      .map((to) => ({ from, to })),
  );
  const next = new Map<string, Set<string>>();
  for (const { from, to } of imports)
    next.set(dirname(from), (next.get(dirname(from)) ?? new Set()).add(dirname(to)));
  const reached = new Map([...next.keys()].map((start) => [start, reachedFrom(start, next)]));
  const isMutual = (a: string, b: string): boolean =>
    reached.get(a)?.has(b) === true && reached.get(b)?.has(a) === true;
  const cycles = new Map<string, string[]>();
  for (const { from, to } of imports) {
    if (!isMutual(dirname(from), dirname(to))) continue;
    const [first = ''] = [...reached.keys()].filter((other) => isMutual(dirname(from), other)).sort();
    cycles.set(first, [...(cycles.get(first) ?? []), `${from} -> ${to}`]);
  }
  return [...cycles.values()];
}

function reachedFrom(start: string, next: ReadonlyMap<string, ReadonlySet<string>>): Set<string> {
  const reached = new Set<string>();
  const waiting = [start];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop())
    for (const to of next.get(at) ?? [])
      if (!reached.has(to)) {
        reached.add(to);
        waiting.push(to);
      }
  return reached;
}

/** Returns the relative specifiers of static and dynamic imports and of exports. */
function importedBy(text: string): string[] {
  const { importedFiles } = ts.preProcessFile(text);
  return importedFiles.map(({ fileName }) => fileName).filter((name) => name.startsWith('.'));
}
