import type { CelInput } from '@bufbuild/cel';
import type { CompiledCel, CelProblem } from './cel.ts';
import type { CelBudget } from './cel-budget.ts';

/**
 * The members that {@link loadCel} makes available. The evaluator is large, so a policy without expressions
 * never loads it.
 */
export interface CelLanguage {
  compile(text: string): CompiledCel | { readonly problems: readonly CelProblem[] };
  ofJson(value: unknown): CelInput;
  /** Converts a time, ISO 8601. */
  timestamp(now: Date): CelInput;
  budget(): CelBudget;
}

let language: CelLanguage | undefined;
const compiled = new Map<string, CompiledCel>();

/** Loads the CEL evaluator. A reader of a policy with expressions must await it. */
export async function loadCel(): Promise<CelLanguage> {
  language ??= (await import('./cel-language.ts')).celLanguage;
  return language;
}

/** Returns the loaded evaluator, or undefined when no policy with expressions was loaded. */
export function loadedCel(): CelLanguage | undefined {
  return language;
}

/**
 * Returns the expression of a loaded policy, compiled once, or undefined when the text is not a valid
 * expression.
 */
export function compiledCel(text: string, { compile }: CelLanguage): CompiledCel | undefined {
  const known = compiled.get(text);
  if (known !== undefined) return known;
  const result = compile(text);
  if ('problems' in result) return undefined;
  // The cache stays bounded: a long-lived daemon reloads few policies.
  if (compiled.size >= 10_000) compiled.clear();
  compiled.set(text, result);
  return result;
}
