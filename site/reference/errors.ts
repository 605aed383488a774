import ts from 'typescript';
import { errorGroups } from './error-groups.ts';
import { declarationOf, fileName, sourcesOf } from './program.ts';

const codePattern = new RegExp(
  `^(?:${errorGroups.flatMap(({ prefixes }) => prefixes).join('|')})(?:_[A-Z0-9]+)+$`,
);
/** Environment variables, of CNI and of HTTP clients, that look like codes. */
const variables: ReadonlySet<string> = new Set([
  ...[
    'CNI_ARGS',
    'CNI_COMMAND',
    'CNI_CONTAINERID',
    'CNI_IFNAME',
    'CNI_NETNS',
    'CNI_NETNS_OVERRIDE',
    'CNI_PATH',
  ],
  ...['HTTP_PROXY', 'HTTPS_PROXY'],
]);
/** The names of properties and parameters that hold the parts of an error. */
const parts = { attempted: ['attempted'], why: ['why', 'problem', 'reason', 'text'], fix: ['fix'] } as const;

export interface Case {
  readonly attempted: string | undefined;
  readonly why: string | undefined;
  readonly fix: string | undefined;
}

export interface Declared {
  readonly files: Set<string>;
  readonly cases: Case[];
}

/** The context in which the names of an expression are resolved. */
interface Scope {
  readonly checker: ts.TypeChecker;
  /** The code of the error. */
  readonly code: string;
  /**
   * The arguments of the call, by the names of the parameters, when the expression is in the called function.
   */
  readonly given?: ReadonlyMap<string, ts.Expression>;
}

/** Finds each error code in the sources, with the causes and remedies that the code is reported with. */
export function errorCodes(
  program: ts.Program,
  sources: readonly ts.SourceFile[] = sourcesOf(program),
): Map<string, Declared> {
  const checker = program.getTypeChecker();
  const found = new Map<string, Declared>();
  const take = (name: string, file: ts.SourceFile, one: Case): void => {
    const declared = found.get(name) ?? { files: new Set(), cases: [] };
    found.set(name, declared);
    declared.files.add(fileName(file));
    const key = (it: Case): string => `${it.why ?? ''}|${it.fix ?? ''}`;
    if ((one.why ?? one.fix) !== undefined && !declared.cases.some((other) => key(other) === key(one)))
      declared.cases.push(one);
  };
  const reporters = new Map<ts.Node, Set<string>>();
  const addReporter = (node: ts.Node, code: string): void => {
    const reporter = functionAround(node);
    if (reporter !== undefined) reporters.set(reporter, (reporters.get(reporter) ?? new Set()).add(code));
  };
  for (const file of sources) {
    const visit = (node: ts.Node): void => {
      if (ts.isObjectLiteralExpression(node)) {
        const value = propertyOf(node, 'code');
        for (const code of value === undefined ? [] : codesIn(value, checker)) {
          take(
            code,
            file,
            caseOf((part) => propertyOf(node, part), { checker, code }),
          );
          addReporter(node, code);
        }
      }
      // A table of codes: `{ HTTP_TOO_SLOW: { kind, fix } }`, or `fixes = { HTTP_TOO_SLOW: '…' }`.
      if (ts.isPropertyAssignment(node) && codePattern.test(node.name.getText())) {
        const [code, value] = [node.name.getText(), node.initializer];
        if (ts.isObjectLiteralExpression(value))
          take(
            code,
            file,
            caseOf((part) => propertyOf(value, part), { checker, code }),
          );
        else if (isTableOfFixes(node.parent))
          take(
            code,
            file,
            caseOf((part) => (part === 'fix' ? value : undefined), { checker, code }),
          );
      }
      if (ts.isCallExpression(node))
        for (const code of node.arguments.flatMap((argument) => codesIn(argument, checker))) {
          take(code, file, caseOfCall(node, { checker, code }));
          addReporter(node, code);
        }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  // Callers give the cause and the remedy to a function that creates the error. The type checker takes long
  // to find a method: only one with the name of such a function is looked up.
  const names = new Set([...reporters.keys()].map(nameOf));
  for (const file of sources) {
    const visit = (node: ts.Node): void => {
      if (
        ts.isCallExpression(node) &&
        (!ts.isPropertyAccessExpression(node.expression) || names.has(node.expression.name.text))
      )
        for (const code of reporters.get(functionOf(checker, node) ?? node) ?? [])
          take(code, file, caseOfCall(node, { checker, code }));
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  return found;
}

/**
 * Returns the function that creates an error of its parameters; undefined if it has no parameter for a part
 * of the error.
 */
function functionAround(node: ts.Node): ts.Node | undefined {
  const around = ts.findAncestor(node.parent, ts.isFunctionLike);
  const names: readonly string[] = Object.values(parts).flat();
  const isPart = ({ name }: ts.ParameterDeclaration): boolean =>
    ts.isIdentifier(name) && names.includes(name.text);
  return around?.parameters.some((parameter) => ts.isParameter(parameter) && isPart(parameter)) === true
    ? around
    : undefined;
}

/** Returns the name of a function, or of the variable or property that holds it; undefined without one. */
function nameOf(callee: ts.Node): string | undefined {
  const [own, holder] = [callee, callee.parent] as ts.NamedDeclaration[];
  return (own?.name ?? holder?.name)?.getText();
}

/** Returns the function that a call calls. */
function functionOf(checker: ts.TypeChecker, call: ts.CallExpression): ts.SignatureDeclaration | undefined {
  const declaration = declarationOf(checker, call.expression);
  const callee =
    declaration !== undefined && ts.isVariableDeclaration(declaration)
      ? declaration.initializer
      : declaration;
  return callee !== undefined && ts.isFunctionLike(callee) ? callee : undefined;
}

function isTableOfFixes(table: ts.Node): boolean {
  return ts.isVariableDeclaration(table.parent) && /^(?:fix|remed)/.test(table.parent.name.getText());
}

/** Returns the codes that an expression can be: a text, either side of a choice, or an entry of a table. */
function codesIn(node: ts.Expression, checker: ts.TypeChecker): string[] {
  const inside = (each: ts.Expression): string[] => codesIn(each, checker);
  if (ts.isStringLiteral(node))
    return codePattern.test(node.text) && !variables.has(node.text) ? [node.text] : [];
  if (ts.isConditionalExpression(node)) return [...inside(node.whenTrue), ...inside(node.whenFalse)];
  if (ts.isParenthesizedExpression(node)) return inside(node.expression);
  if (isEither(node)) return [...inside(node.left), ...inside(node.right)];
  if (!ts.isElementAccessExpression(node)) return [];
  const table = declarationOf(checker, node.expression);
  const entries = table !== undefined && ts.isVariableDeclaration(table) ? table.initializer : undefined;
  if (entries === undefined || !ts.isObjectLiteralExpression(entries)) return [];
  return entries.properties.flatMap((entry) =>
    ts.isPropertyAssignment(entry) ? inside(entry.initializer) : [],
  );
}

/** Whether an expression is `a ?? b`. */
function isEither(node: ts.Expression): node is ts.BinaryExpression {
  return ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken;
}

/** Returns the value of a property; for `{ why }`, the name itself. */
function propertyOf(node: ts.ObjectLiteralExpression, name: string): ts.Expression | undefined {
  for (const property of node.properties) {
    if (property.name?.getText() !== name) continue;
    if (ts.isPropertyAssignment(property)) return property.initializer;
    if (ts.isShorthandPropertyAssignment(property)) return property.name;
  }
  return undefined;
}

function caseOf(valueOf: (name: string) => ts.Expression | undefined, scope: Scope): Case {
  const read = (names: readonly string[]): string | undefined =>
    names
      .map((name) => valueOf(name))
      .map((value) => (value === undefined ? undefined : textOf(value, scope)))
      .find((text) => text !== undefined);
  return { attempted: read(parts.attempted), why: read(parts.why), fix: read(parts.fix) };
}

/** Reads the parts from the error that the called function creates, and otherwise from the arguments. */
function caseOfCall(call: ts.CallExpression, scope: Scope): Case {
  const callee = functionOf(scope.checker, call);
  if (callee === undefined) return { attempted: undefined, why: undefined, fix: undefined };
  const given = new Map<string, ts.Expression>();
  callee.parameters.forEach((parameter, index) => {
    const argument = call.arguments[index];
    if (argument !== undefined && ts.isIdentifier(parameter.name)) given.set(parameter.name.text, argument);
    if (argument === undefined || !ts.isObjectLiteralExpression(argument)) return;
    for (const property of argument.properties)
      if (ts.isPropertyAssignment(property)) given.set(property.name.getText(), property.initializer);
  });
  let body: Case = { attempted: undefined, why: undefined, fix: undefined };
  const visit = (node: ts.Node): void => {
    if (
      ts.isObjectLiteralExpression(node) &&
      propertyOf(node, 'code') !== undefined &&
      propertyOf(node, 'fix') !== undefined
    )
      body = caseOf((name) => propertyOf(node, name), { ...scope, given });
    ts.forEachChild(node, visit);
  };
  visit(callee);
  const own = caseOf((name) => given.get(name), scope);
  return { attempted: body.attempted ?? own.attempted, why: body.why ?? own.why, fix: body.fix ?? own.fix };
}

/**
 * Returns the text of an expression, with `…` for what is known only when the error occurs. Undefined when
 * nothing of it is known.
 */
function textOf(node: ts.Expression, scope: Scope): string | undefined {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text;
  if (ts.isTemplateExpression(node)) {
    const text =
      node.head.text +
      node.templateSpans
        .map((span) => `${partOf(span.expression, scope) ?? '…'}${span.literal.text}`)
        .join('');
    return text.replaceAll(/…(?:\s*…)+/g, '…');
  }
  if (ts.isParenthesizedExpression(node)) return textOf(node.expression, scope);
  if (ts.isConditionalExpression(node)) {
    const sides = [textOf(node.whenTrue, scope), textOf(node.whenFalse, scope)].filter(
      (side) => side !== undefined && side !== '',
    );
    return sides.length === 0 ? undefined : sides.join(' / ');
  }
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    const [left, right] = [textOf(node.left, scope), textOf(node.right, scope)];
    return left === undefined && right === undefined ? undefined : `${left ?? '…'}${right ?? '…'}`;
  }
  if (isEither(node)) return textOf(node.left, scope) ?? textOf(node.right, scope);
  // `shortened(why, 2048)` is the same text.
  if (isCallOfFunction(node) && node.arguments[0] !== undefined && scope.given !== undefined)
    return textOf(node.arguments[0], scope);
  return named(node, scope);
}

/** Not a method: the argument of `names.join(', ')` is not its text. */
function isCallOfFunction(node: ts.Expression): node is ts.CallExpression {
  return ts.isCallExpression(node) && ts.isIdentifier(node.expression);
}

/** Returns the text of a part of a template. In `${id() ?? 'unknown'}`, the usual text is not known. */
function partOf(node: ts.Expression, scope: Scope): string | undefined {
  return isEither(node) ? textOf(node.left, scope) : textOf(node, scope);
}

/**
 * Returns the text behind a name: an argument of the call, a constant, a default, or the entry of a table of
 * codes.
 */
function named(node: ts.Expression, { checker, code, given }: Scope): string | undefined {
  const name = ts.isIdentifier(node)
    ? node.text
    : ts.isPropertyAccessExpression(node)
      ? node.name.text
      : undefined;
  const argument = name === undefined ? undefined : given?.get(name);
  if (argument !== undefined) return textOf(argument, { checker, code });
  if (ts.isElementAccessExpression(node)) {
    const table = declarationOf(checker, node.expression);
    const entries = table !== undefined && ts.isVariableDeclaration(table) ? table.initializer : undefined;
    const entry =
      entries !== undefined && ts.isObjectLiteralExpression(entries) ? propertyOf(entries, code) : undefined;
    return entry === undefined ? undefined : textOf(entry, { checker, code });
  }
  const declaration = ts.isIdentifier(node) ? declarationOf(checker, node) : undefined;
  if (declaration === undefined) return undefined;
  const constant =
    ts.isVariableDeclaration(declaration) &&
    (ts.getCombinedNodeFlags(declaration) & ts.NodeFlags.Const) !== 0;
  const value =
    constant || ts.isBindingElement(declaration) || ts.isParameter(declaration)
      ? declaration.initializer
      : undefined;
  return value === undefined || ts.isIdentifier(value) ? undefined : textOf(value, { checker, code });
}
