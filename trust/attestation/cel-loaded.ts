import type { CelInput } from '@bufbuild/cel';
import type { CompiledCel, CelProblem } from './cel.ts';
import type { CelBudget } from './cel-budget.ts';

/** What {@link loadCel} makes available: the evaluator is large, and a policy without expressions never loads it. */
export interface CelLanguage {
  compile(text: string): CompiledCel | { readonly problems: readonly CelProblem[] };
  ofJson(value: unknown): CelInput;
  /** Of a time, ISO 8601. */
  timestamp(now: Date): CelInput;
  budget(): CelBudget;
}

let language: CelLanguage | undefined;
const compiled = new Map<string, CompiledCel>();

/** To be awaited by whoever reads a policy with expressions. */
export async function loadCel(): Promise<CelLanguage> {
  language ??= (await import('./cel-language.ts')).celLanguage;
  return language;
}

/** What was loaded; undefined when no policy with expressions was. */
export function loadedCel(): CelLanguage | undefined {
  return language;
}

/** An expression of a loaded policy, compiled once; undefined when it is none. */
export function compiledCel(text: string, { compile }: CelLanguage): CompiledCel | undefined {
  const known = compiled.get(text);
  if (known !== undefined) return known;
  const result = compile(text);
  if ('problems' in result) return undefined;
  // Bounded: a long-lived daemon reloads few policies.
  if (compiled.size >= 10_000) compiled.clear();
  compiled.set(text, result);
  return result;
}
