import { readFileSync } from 'node:fs';

/**
 * Matches the name or text of tests that kill processes or use a seed. `process.kill(pid, 0)` only probes.
 */
const killsOrSeeds =
  /SIGKILL|\.kill\((?![^()]*, 0\))|\bkills?\b|[Ss]eed|SEED|Math\.random|\brandom(?:Bytes|Int)?\(|\bchaos\b|\bcrash\b/u;

/**
 * Returns whether the first failure of a test file is final. A kill happens at another moment in a second
 * run, and a failure found with a seed is a defect: a second run that passes would hide both. The decision
 * uses only the name and text of the file, so no list has to be maintained.
 */
export function isFinal(file: string): boolean {
  return killsOrSeeds.test(`${file}\n${readFileSync(file, 'utf8')}`);
}
