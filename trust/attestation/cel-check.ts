import { ConstantSchema, Expr_CallSchema, ExprSchema } from '@bufbuild/cel-spec/cel/expr/syntax_pb.js';
import type {
  Expr,
  Expr_Call,
  Expr_Comprehension,
  Expr_CreateStruct,
} from '@bufbuild/cel-spec/cel/expr/syntax_pb.js';
import { create } from '@bufbuild/protobuf';
import { reasonOf } from '../../base/errors/index.ts';
import { celFunctions, literalMatches, rangeFunction } from './cel-functions.ts';
import { compilePattern } from './cel-regex.ts';

/** A mistake in a parsed expression that makes it always fail, and the part of it where the mistake is. */
export interface CelMistake {
  readonly expression: bigint;
  readonly message: string;
}

/** The variables that every expression may name. */
export const celVariables: readonly string[] = [
  'predicate',
  'predicateType',
  'subject',
  'statement',
  'image',
  'signer',
  'now',
];

/** Names of types, for `type(x) == string`, and the first identifier of google.protobuf.Timestamp. */
const typeNames: readonly string[] = [
  ...['int', 'uint', 'double', 'bool', 'string', 'bytes', 'list', 'map', 'null_type', 'type', 'google'],
];

/** Calls that are part of the language, not functions. */
const operators: ReadonlySet<string> = new Set([
  '_&&_',
  '_||_',
  '_?_:_',
  '_[_]',
  '@not_strictly_false',
  '__not_strictly_false__',
]);

interface Walk {
  readonly mistakes: CelMistake[];
  readonly used: Set<string>;
  parts: number;
}

/**
 * Finds all unknown names, unknown functions and invalid patterns at once. Wraps the range of each
 * comprehension in the metering function, and marks literal patterns as such. Changes `expression`.
 */
export function checkExpression(expression: Expr): {
  readonly mistakes: readonly CelMistake[];
  readonly used: ReadonlySet<string>;
} {
  const walk: Walk = { mistakes: [], used: new Set(), parts: 0 };
  visit(expression, new Set(celVariables), walk);
  return walk;
}

function visit(expression: Expr | undefined, scope: ReadonlySet<string>, walk: Walk): void {
  if (expression === undefined) return;
  walk.parts += 1;
  const { exprKind } = expression;
  switch (exprKind.case) {
    case 'identExpr':
      return visitName(expression.id, exprKind.value.name, scope, walk);
    case 'selectExpr':
      return visit(exprKind.value.operand, scope, walk);
    case 'callExpr':
      return visitCall(expression.id, exprKind.value, scope, walk);
    case 'listExpr':
      for (const element of exprKind.value.elements) visit(element, scope, walk);
      return;
    case 'structExpr':
      return visitStruct(expression.id, exprKind.value, scope, walk);
    case 'comprehensionExpr':
      return visitComprehension(exprKind.value, scope, walk);
    default:
  }
}

function visitName(id: bigint, name: string, scope: ReadonlySet<string>, walk: Walk): void {
  const plain = name.replace(/^\./, '');
  walk.used.add(plain);
  if (scope.has(plain) || typeNames.includes(plain)) return;
  walk.mistakes.push({
    expression: id,
    message: `there is no variable \`${plain}\`; the variables are ${celVariables.join(', ')}`,
  });
}

function visitCall(id: bigint, call: Expr_Call, scope: ReadonlySet<string>, walk: Walk): void {
  if (!operators.has(call.function) && celFunctions.funcs.find(call.function) === undefined)
    walk.mistakes.push({ expression: id, message: `there is no function \`${call.function}\`` });
  visit(call.target, scope, walk);
  for (const argument of call.args) visit(argument, scope, walk);
  const literal = call.function === 'matches' ? call.args[0]?.exprKind : undefined;
  if (literal?.case !== 'constExpr' || literal.value.constantKind.case !== 'stringValue') return;
  try {
    compilePattern(literal.value.constantKind.value);
    call.function = literalMatches;
  } catch (error) {
    walk.mistakes.push({ expression: id, message: `the pattern is not valid in RE2: ${reasonOf(error)}` });
  }
}

function visitStruct(id: bigint, struct: Expr_CreateStruct, scope: ReadonlySet<string>, walk: Walk): void {
  if (struct.messageName !== '')
    walk.mistakes.push({
      expression: id,
      message: `messages such as \`${struct.messageName}\` are not supported`,
    });
  for (const entry of struct.entries) {
    if (entry.keyKind.case === 'mapKey') visit(entry.keyKind.value, scope, walk);
    visit(entry.value, scope, walk);
  }
}

function visitComprehension(loop: Expr_Comprehension, scope: ReadonlySet<string>, walk: Walk): void {
  visit(loop.iterRange, scope, walk);
  visit(loop.accuInit, scope, walk);
  const before = walk.parts;
  const inner = new Set([...scope, loop.iterVar, loop.accuVar]);
  visit(loop.loopCondition, inner, walk);
  visit(loop.loopStep, inner, walk);
  const parts = walk.parts - before;
  visit(loop.result, new Set([...scope, loop.accuVar]), walk);
  if (loop.iterRange === undefined) return;
  const constantKind = { case: 'int64Value' as const, value: BigInt(parts) };
  const constant = create(ConstantSchema, { constantKind });
  const count = create(ExprSchema, { exprKind: { case: 'constExpr', value: constant } });
  const value = create(Expr_CallSchema, { function: rangeFunction, args: [loop.iterRange, count] });
  loop.iterRange = create(ExprSchema, { id: loop.iterRange.id, exprKind: { case: 'callExpr', value } });
}
