import type { Spec } from '../node-conformance/report.ts';

const outcomes = { PASS: 'passed', FAIL: 'failed', SKIP: 'skipped' } as const;
const begins = /^=== (?:RUN|NAME)\s+\w+\/(\S+)/u;
const ends = /^\s*--- (PASS|FAIL|SKIP): \w+\/(\S+)/u;
const failedCommand = /FAILED Command was (\[.* --protocol=(\w+) .*\])/u;

/**
 * Reads the output of `go test -v` for a test with subtests. Returns each subtest that contains no other
 * subtest. Also returns a subtest that failed by itself while all subtests in it passed. A subtest stops at
 * its first wrong connection. The name of a failed subtest ends with the protocol of that connection.
 */
export function readResults(output: string): Spec[] {
  const failures = new Map<string, readonly [command: string, protocol: string]>();
  const all: Spec[] = [];
  let current = '';
  for (const line of output.split('\n')) {
    current = begins.exec(line)?.[1] ?? current;
    const [, command, protocol] = failedCommand.exec(line) ?? [];
    if (command !== undefined && protocol !== undefined) failures.set(current, [command, protocol]);
    const [, outcome, name] = ends.exec(line) ?? [];
    if (outcome !== undefined && name !== undefined)
      all.push({ name, outcome: outcomes[outcome as keyof typeof outcomes], why: '' });
  }
  const below = ({ name }: Spec): Spec[] => all.filter((other) => other.name.startsWith(`${name}/`));
  return all
    .filter(
      (one) =>
        below(one).length === 0 ||
        (one.outcome === 'failed' && below(one).every(({ outcome }) => outcome !== 'failed')),
    )
    .map((one) => {
      const [command, protocol] = failures.get(one.name) ?? [];
      if (one.outcome !== 'failed' || command === undefined) return one;
      return { ...one, name: `${one.name} by ${protocol}`, why: command };
    })
    .toSorted((a, b) => a.name.localeCompare(b.name));
}
