import { RE2JS } from '@bufbuild/re2';

/** A pattern that is ready, and how many instructions its program has. */
export interface CompiledPattern {
  readonly pattern: RE2JS;
  readonly instructions: number;
}

/** RE2 refuses a repetition of more than this, of nested ones their product. */
const maximumRepetition = 1000;
const kept = new Map<string, CompiledPattern>();

/**
 * RE2's own syntax and semantics (github.com/google/re2/wiki/Syntax): no backtracking, so that the time is bounded by the
 * lengths of program and text.
 * @throws Error when it is no pattern
 */
export function compilePattern(text: string): CompiledPattern {
  const known = kept.get(text);
  if (known !== undefined) return known;
  const pattern = RE2JS.compile(text);
  const compiled = { pattern, instructions: instructionsOf(pattern) };
  // Bounded: patterns may be made by an expression out of what is attested.
  if (kept.size >= 64) kept.clear();
  kept.set(text, compiled);
  return compiled;
}

function instructionsOf(pattern: RE2JS): number {
  return pattern.re2().prog.inst.length;
}

/** Steps that compiling a pattern may take, whether or not it is kept (an answer must not hang on what was asked before): its characters, as often as its counted repetitions may repeat them. */
export function compileSteps(text: string): number {
  let times = 1;
  for (const [, from = '', to = ''] of text.matchAll(/\{(\d{1,9}),?(\d{0,9})\}/g)) {
    times = Math.min(maximumRepetition, times * Math.max(1, Number(from), Number(to)));
  }
  return 100 + text.length * times * 4;
}

/** Steps that matching may take: each character may visit each instruction. */
export function matchSteps({ instructions }: CompiledPattern, text: string): number {
  return 1 + text.length * Math.max(2, instructions / 6);
}
