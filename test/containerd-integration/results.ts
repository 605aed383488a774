/** The outcome of one test or of a part of it, by its name. */
export type Outcome = 'PASS' | 'FAIL' | 'SKIP';

/**
 * Reads the output of `go test -v`. A test of which a part failed is left out: the part is in the result.
 * Source: `go doc cmd/test2json`.
 */
export function readOutcomes(output: string): ReadonlyMap<string, Outcome> {
  const outcomes = new Map<string, Outcome>();
  for (const [, outcome, name = ''] of output.matchAll(/^\s*--- (PASS|FAIL|SKIP): (\S+) \(/gmu))
    outcomes.set(name, outcome as Outcome);
  const failed = [...outcomes].filter(([, outcome]) => outcome === 'FAIL').map(([name]) => name);
  for (const name of failed) if (failed.some((other) => other.startsWith(`${name}/`))) outcomes.delete(name);
  return outcomes;
}
