import { join } from 'node:path';
import ts from 'typescript';
import { readLibraries } from '../../packaging/libraries.ts';
import { block } from './markdown.ts';
import { fileName, root } from './program.ts';

export interface ApiPage {
  /** The name of the page. */
  readonly name: string;
  /** The name of the library. */
  readonly title: string;
  readonly text: string;
}

const kinds = new Map<ts.SyntaxKind, string>([
  [ts.SyntaxKind.FunctionDeclaration, 'Functions'],
  [ts.SyntaxKind.ClassDeclaration, 'Classes'],
  [ts.SyntaxKind.VariableDeclaration, 'Values'],
  [ts.SyntaxKind.InterfaceDeclaration, 'Types'],
  [ts.SyntaxKind.TypeAliasDeclaration, 'Types'],
]);

/**
 * Returns a page for each library: what it is for, and every exported name with its docstring and its
 * declaration.
 */
export function apiPages(program: ts.Program): ApiPage[] {
  const checker = program.getTypeChecker();
  return readLibraries().map(({ name, source, out }) => {
    const entryPoint = program.getSourceFile(join(root, source));
    const symbol = entryPoint === undefined ? undefined : checker.getSymbolAtLocation(entryPoint);
    if (entryPoint === undefined || symbol === undefined) throw new Error(`${source} exports nothing`);
    const sections = new Map<string, string[]>(
      ['Functions', 'Classes', 'Values', 'Types'].map((title) => [title, []]),
    );
    for (const exported of checker
      .getExportsOfModule(symbol)
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const target =
        (exported.flags & ts.SymbolFlags.Alias) === 0 ? exported : checker.getAliasedSymbol(exported);
      const declarations = (target.declarations ?? []).filter((one) => kinds.has(one.kind));
      const [first] = declarations;
      if (first === undefined)
        throw new Error(`${source} exports ${exported.name}, of a kind that the reference does not know`);
      sections.get(kinds.get(first.kind) ?? '')?.push(entry(exported.name, declarations));
    }
    const parts = [
      `# portcullis/${name}`,
      `\`import { … } from 'portcullis/${name}'\``,
      purposeOf(entryPoint),
    ];
    for (const [title, entries] of sections) if (entries.length > 0) parts.push(`## ${title}`, ...entries);
    return { name: out, title: name, text: `${parts.filter((part) => part !== '').join('\n\n')}\n` };
  });
}

/** Returns what the comment at the head of an entry point says about it, or nothing without one. */
function purposeOf(entryPoint: ts.SourceFile): string {
  const [first] = entryPoint.statements;
  return first === undefined
    ? ''
    : ts
        .getJSDocCommentsAndTags(first)
        .filter(ts.isJSDoc)
        .map(({ comment }) => plain(comment))
        .join('\n\n');
}

function entry(name: string, declarations: readonly ts.Declaration[]): string {
  const [first] = declarations;
  const doc = first === undefined ? '' : docOf(first);
  const text = declarations.map(declarationText).join('\n\n');
  const place = first === undefined ? '' : `Declared in \`${fileName(first.getSourceFile())}\`.`;
  return [`### ${name}`, doc, block('ts', text), place].filter((part) => part !== '').join('\n\n');
}

/** Returns the docstring as Markdown: the text, the parameters, and what the function returns and throws. */
function docOf(declaration: ts.Declaration): string {
  const holder = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
  const docs = ts.getJSDocCommentsAndTags(holder).filter(ts.isJSDoc);
  return docs
    .flatMap((doc) => [
      plain(doc.comment),
      ...(doc.tags ?? []).map((tag) => {
        const name = ts.isJSDocParameterTag(tag) ? ` \`${tag.name.getText()}\`` : '';
        return `- ${tag.tagName.text}${name}: ${plain(tag.comment)}`;
      }),
    ])
    .filter((part) => part !== '')
    .join('\n\n');
}

function plain(comment: ts.JSDoc['comment']): string {
  return (ts.getTextOfJSDocComment(comment) ?? '').replaceAll(/\{@link (\S+?)(?: [^}]*)?\}/g, '`$1`').trim();
}

const printer = ts.createPrinter({ removeComments: false });

/** Returns what a caller needs of a declaration: no body, no initializer, no private member. */
function declarationText(declaration: ts.Declaration): string {
  const file = declaration.getSourceFile();
  const print = (node: ts.Node): string => printer.printNode(ts.EmitHint.Unspecified, node, file);
  if (ts.isFunctionDeclaration(declaration)) {
    const end = declaration.body?.getStart() ?? declaration.end;
    return text(file, declaration.getStart(), end).replace(/^export /, '');
  }
  if (ts.isClassDeclaration(declaration)) {
    const members = declaration.members
      .filter((member) => !isPrivate(member))
      .map((member) => {
        const body =
          ts.isMethodDeclaration(member) || ts.isConstructorDeclaration(member) || ts.isAccessor(member)
            ? member.body
            : undefined;
        return `  ${text(file, member.getStart(), body?.getStart() ?? member.end).replace(/;$/, '')};`;
      });
    const heritage = declaration.heritageClauses?.map(print).join(' ') ?? '';
    return `class ${declaration.name?.text ?? ''} ${heritage}${heritage === '' ? '' : ' '}{\n${members.join('\n')}\n}`;
  }
  if (ts.isVariableDeclaration(declaration)) {
    const type = declaration.type?.getText();
    if (type !== undefined) return `const ${declaration.name.getText()}: ${type}`;
    const value = declaration.initializer?.getText() ?? '';
    return `const ${declaration.name.getText()} = ${value.split('\n').length > 12 ? '…' : value}`;
  }
  return text(file, declaration.getStart(), declaration.end).replace(/^export /, '');
}

function text(file: ts.SourceFile, from: number, to: number): string {
  return file.text.slice(from, to).trim();
}

function isPrivate(member: ts.ClassElement): boolean {
  return (
    (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private) !== 0 ||
    (member.name !== undefined && ts.isPrivateIdentifier(member.name))
  );
}
