import { RE2JS } from '@bufbuild/re2';

/** A compiled pattern, and the number of instructions of its program. */
export interface CompiledPattern {
  readonly pattern: RE2JS;
  readonly instructions: number;
}

/** RE2 refuses more repetitions than this; for nested repetitions, their product counts. */
const maximumRepetition = 1000;
const kept = new Map<string, CompiledPattern>();

/**
 * Compiles a pattern with the syntax and semantics of RE2 (github.com/google/re2/wiki/Syntax). There is no
 * backtracking, so the lengths of the program and the text bound the time.
 * @throws Error when the text is not a valid pattern
 */
export function compilePattern(text: string): CompiledPattern {
  const known = kept.get(text);
  if (known !== undefined) return known;
  const pattern = RE2JS.compile(text);
  const compiled = { pattern, instructions: instructionsOf(pattern) };
  // The cache stays bounded: an expression may build patterns from the attestation.
  if (kept.size >= 64) kept.clear();
  kept.set(text, compiled);
  return compiled;
}

function instructionsOf(pattern: RE2JS): number {
  return pattern.re2().prog.inst.length;
}

/**
 * Returns the steps that compiling a pattern costs: its characters, multiplied by its counted repetitions,
 * and by the depth of groups. A cached pattern costs the same, because an answer must not depend on earlier
 * questions.
 */
export function compileSteps(text: string): number {
  let times = 1;
  for (const [, from = '', to = ''] of text.matchAll(/\{(\d{1,9}),?(\d{0,9})\}/g)) {
    times = Math.min(maximumRepetition, times * Math.max(1, Number(from), Number(to)));
  }
  return 100 + text.length * times * 4 + (text.length * depthOf(text)) / 8;
}

/** Returns how deep groups are nested: each character is compiled once for each group around it. */
function depthOf(text: string): number {
  let [depth, deepest] = [0, 0];
  for (const [mark] of text.matchAll(/\\.|[()]/gsu)) {
    if (mark === '(') depth += 1;
    else if (mark === ')') depth -= 1;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}

/** Returns the steps that matching costs: each character may visit each instruction. */
export function matchSteps({ instructions }: CompiledPattern, text: string): number {
  return 1 + text.length * Math.max(2, instructions / 6);
}
