import { isCelError, parse, plan } from '@bufbuild/cel';
import type { CelInput } from '@bufbuild/cel';
import type { ParsedExpr } from '@bufbuild/cel-spec/cel/expr/syntax_pb.js';
import { reasonOf } from '../../base/errors/index.ts';
import { exhausted, spendingFrom } from './cel-budget.ts';
import type { CelBudget } from './cel-budget.ts';
import { checkExpression } from './cel-check.ts';
import { celFunctions } from './cel-functions.ts';

/** A compiled expression. */
export interface CompiledCel {
  /** The answer depends on the time of evaluation. */
  readonly usesNow: boolean;
  /**
   * Evaluates the expression. Pure, and never throws. A problem says why the expression cannot be evaluated
   * over these values, and counts as no.
   */
  evaluate(
    variables: Readonly<Record<string, CelInput>>,
    budget: CelBudget,
  ): boolean | { readonly problem: string };
}

/** A mistake in an expression. Line and column count from 1 within its text. */
export interface CelProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

const maximumLength = 4096;
const maximumDepth = 32;

/**
 * Compiles a CEL expression (github.com/google/cel-spec, langdef.md; standard functions and macros) and
 * checks its names, functions and patterns.
 */
export function compileCel(text: string): CompiledCel | { readonly problems: readonly CelProblem[] } {
  const tooMuch = tooLongOrDeep(text);
  if (tooMuch !== undefined) return { problems: [{ line: 1, column: 1, message: tooMuch }] };
  let parsed: ParsedExpr;
  try {
    parsed = parse(text);
  } catch (error) {
    return { problems: [syntaxProblem(error)] };
  }
  if (parsed.expr === undefined) return { problems: [{ line: 1, column: 1, message: 'it is empty' }] };
  const positions = parsed.sourceInfo?.positions ?? {};
  const { mistakes, used } = checkExpression(parsed.expr);
  if (mistakes.length > 0)
    return {
      problems: mistakes.map(({ expression, message }) => ({
        ...placeOf(text, positions[expression.toString()] ?? 0),
        message,
      })),
    };
  try {
    return ready(parsed, used.has('now'));
  } catch (error) {
    return { problems: [{ line: 1, column: 1, message: reasonOf(error) }] };
  }
}

function ready(parsed: ParsedExpr, usesNow: boolean): CompiledCel {
  const planned = plan(celFunctions, parsed);
  return {
    usesNow,
    evaluate(variables, budget) {
      const answer = spendingFrom(budget, () => planned(variables));
      // A part that exceeded the budget may have been absorbed (`false && …`), but the answer must not depend
      // on the order of the parts.
      if (budget.left < 0) return { problem: exhausted };
      if (typeof answer === 'boolean') return answer;
      if (isCelError(answer)) return { problem: answer.message };
      return { problem: 'it is neither true nor false' };
    },
  };
}

/**
 * Bounds the input of the parser and the evaluator, which are recursive. Quotes and comments count too, which
 * only makes the bound stricter.
 */
function tooLongOrDeep(text: string): string | undefined {
  if (text.length > maximumLength) return `it is longer than ${maximumLength} characters`;
  let depth = 0;
  for (const character of text) {
    if ('([{'.includes(character)) depth += 1;
    else if (')]}'.includes(character)) depth -= 1;
    if (depth > maximumDepth) return `it is nested deeper than ${maximumDepth} brackets`;
  }
  return undefined;
}

/**
 * Describes a parser error: the parser gives its position and, separately, what was found and expected there.
 */
function syntaxProblem(error: unknown): CelProblem {
  const { location, rawMessage } = error as {
    location?: { start?: { line?: unknown; column?: unknown } };
    rawMessage?: unknown;
  };
  const { line, column } = location?.start ?? {};
  return {
    line: typeof line === 'number' ? line : 1,
    column: typeof column === 'number' ? column : 1,
    message: typeof rawMessage === 'string' ? rawMessage : reasonOf(error),
  };
}

function placeOf(text: string, offset: number): { readonly line: number; readonly column: number } {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}
